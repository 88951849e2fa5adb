/// Pictures as they come from cameras, programs and strangers, through the commands that take them.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include <frieze/core/weights.h>

#include "support/parity.h"
#include "support/sanitizers.h"
#include "tools/command.h"
#include "tools/image/colour.h"
#include "tools/image/exif.h"
#include "tools/image/quality.h"
#include "tools/jpeg_maker.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

using namespace frieze::tools;
using Arguments = std::vector<std::string>;

const std::string kDcae = source_path("tests/golden/dc_ae/in");

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A piece of the photograph, small enough for the CPU reference.
Image piece(int width = 48, int height = 32) {
  static const Image photo = read_image(source_path("tests/data/chelsea.png"));
  Image out{width, height, 3, {}};
  for (int y = 0; y < height; ++y) {
    const auto first = photo.pixels.begin() + ((100 + y) * photo.width + 150) * 3;
    out.pixels.insert(out.pixels.end(), first, first + width * 3);
  }
  return out;
}

Image with_alpha(const Image& image, const std::function<float(int, int)>& alpha) {
  Image out{image.width, image.height, image.channels + 1, {}, image.depth, image.tags};
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const auto first = image.pixels.begin() + (y * image.width + x) * image.channels;
      out.pixels.insert(out.pixels.end(), first, first + image.channels);
      out.pixels.push_back(alpha(x, y));
    }
  }
  return out;
}

class Pictures : public ::testing::Test {
 protected:
  std::string note;  // what the last command said on stderr

  void expect_success(const Arguments& arguments) {
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 0) << arguments[0] << ": " << outcome.err;
    note = outcome.err;
  }
  void expect_refusal(const Arguments& arguments, const std::string& says) {
    const auto before = folder.count();
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments[0] << ' ' << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_TRUE(holds(outcome.err, says)) << "expected '" << says << "' in: " << outcome.err;
    EXPECT_EQ(folder.count(), before);
  }
  std::string denoised(const std::string& in, const std::string& out, const Arguments& more = {}) {
    Arguments arguments{"denoise", in, "-o", folder.file(out), "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_success(arguments);
    return folder.file(out);
  }
  std::string write(const std::string& name, const Image& image) {
    write_image(folder.file(name), image);
    return folder.file(name);
  }

  TempFolder folder;
};

TEST_F(Pictures, APhotographFromAPhoneComesOutUprightWithItsProfile) {
  const Image photo = piece();
  const std::string icc = make_icc(IccKind::display_p3);
  // Held upright: the sensor's rows are the picture's columns. 6 is undone by 8.
  const Image stored = upright(photo, 8);
  JpegSettings settings{.horizontal = 2, .vertical = 2};
  settings.exif = make_exif(6, false);
  settings.icc = icc;
  const std::string phone = folder.write("phone.jpg", make_jpeg(stored.width, stored.height, 3, samples_of(stored), settings));
  for (const std::string out : {"clean.png", "clean.jpg"}) {
    const Image clean = read_image(denoised(phone, out, {"--sigma", "2"}));
    EXPECT_TRUE(holds(note, "EXIF")) << note;
    EXPECT_EQ(std::count(note.begin(), note.end(), '\n'), 1) << note;
    ASSERT_EQ(clean.width, photo.width);
    ASSERT_EQ(clean.height, photo.height);
    EXPECT_EQ(clean.channels, 3);
    EXPECT_EQ(text_of(clean.tags.icc), icc);
    EXPECT_GT(psnr(clean, photo), 30);
    EXPECT_TRUE(clean.lost.empty()) << "the orientation must not be told a second time";
  }
  expect_success({"noise", phone, "-o", folder.file("noisy.jpg"), "--sigma", "1"});
  EXPECT_EQ(text_of(read_image(folder.file("noisy.jpg")).tags.icc), icc);
  expect_success({"run", "denoiser", "--device", "cpu", "--in", phone, "--out", folder.file("run.png")});
  EXPECT_EQ(text_of(read_image(folder.file("run.png")).tags.icc), icc);
}

TEST_F(Pictures, SixteenBitsWithAlphaAndAProfileComeOutSo) {
  Image photo = piece();
  for (std::size_t i = 0; i < photo.pixels.size(); ++i) {  // between the levels of 8 bits
    photo.pixels[i] = static_cast<float>(std::lround(photo.pixels[i] * 60000) + static_cast<long>(i % 200)) / 65535.0f;
  }
  photo.depth = 16;
  photo.tags.icc = bytes_of(make_icc(IccKind::display_p3));
  const Image deep = with_alpha(photo, [](int x, int y) { return static_cast<float>((x * 977 + y * 3001) % 60000 + 5000) / 65535.0f; });
  const std::string in = write("deep.png", deep);
  const Image clean = read_image(denoised(in, "clean.png"));
  EXPECT_TRUE(note.empty()) << note;
  EXPECT_EQ(clean.depth, 16);
  ASSERT_EQ(clean.channels, 4);
  EXPECT_EQ(clean.tags, deep.tags);
  std::size_t between = 0;
  for (std::size_t i = 0; i < clean.pixels.size(); ++i) {
    if (i % 4 == 3) {
      ASSERT_EQ(clean.pixels[i], deep.pixels[i]);
    } else {
      between += std::lround(clean.pixels[i] * 65535) % 257 != 0 ? 1 : 0;
    }
  }
  EXPECT_GT(between, clean.pixels.size() / 2) << "8 bits would only know multiples of 257";
  // Nothing removed: the very same file of pixels.
  EXPECT_EQ(read_image(denoised(in, "same.png", {"--sigma", "0"})).pixels, deep.pixels);
  expect_success({"noise", in, "-o", folder.file("noisy.png"), "--sigma", "0"});
  EXPECT_EQ(read_image(folder.file("noisy.png")).pixels, deep.pixels);
  expect_success({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("run.png")});
  EXPECT_EQ(read_image(folder.file("run.png")).depth, 16);
  // In 16 bits the smallest step counts.
  Image one_off = deep;
  one_off.pixels[0] += 1 / 65535.0f;
  expect_success({"compare", in, write("off.png", one_off), "-o", folder.file("both.png")});
  EXPECT_EQ(read_image(folder.file("both.png")).depth, 16);
  expect_refusal({"denoise", in, "-o", folder.file("x.jpg"), "--device", "cpu"}, "transparency and 16 bits a sample");
  expect_refusal({"noise", in, "-o", folder.file("x.jpg")}, "--flatten");
  expect_refusal({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("x.jpeg")}, "--flatten");
  const Image flat = read_image(denoised(in, "flat.jpg", {"--flatten"}));
  EXPECT_EQ(flat.channels, 3);
  EXPECT_EQ(flat.tags, deep.tags);
  EXPECT_TRUE(holds(note, "transparency") && holds(note, "16 bits")) << note;
}

TEST_F(Pictures, GreyStaysGreyWithItsProfile) {
  Image grey{40, 24, 1, {}};
  for (int i = 0; i < 40 * 24; ++i) grey.pixels.push_back(static_cast<float>(i % 200) / 255.0f);
  grey.tags.icc = bytes_of(make_icc(IccKind::grey));
  for (const std::string name : {"grey.png", "grey.jpg"}) {
    const Image clean = read_image(denoised(write(name, grey), "clean_" + name));
    EXPECT_EQ(clean.channels, 1);
    EXPECT_EQ(clean.tags, grey.tags);
  }
  // Three colours cannot have a grey profile: the values are converted, and said to be.
  expect_success({"run", "quickstart", "--device", "cpu", "--in", folder.file("grey.png"), "--out", folder.file("run.png")});
  EXPECT_TRUE(holds(note, "converted to sRGB")) << note;
  EXPECT_TRUE(read_image(folder.file("run.png")).tags.icc.empty());
}

// The colours below alpha 0 must not matter: black, white or noise.
TEST_F(Pictures, HiddenColoursDoNotReachWhatIsSeen) {
  const Image clean = piece(64, 48);
  const auto frame = [](int x, int y) { return x >= 16 && x < 48 && y >= 12 && y < 36 ? 1.0f : 0.0f; };
  const Image noisy = with_alpha(add_noise(clean, 25.0 / 255, 1), frame);
  const auto hidden_as = [&](float value) {
    Image image = noisy;
    for (std::size_t p = 0; p < image.pixels.size(); p += 4) {
      if (image.pixels[p + 3] == 0) std::fill_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(p), 3, value);
    }
    return image;
  };
  const std::string same = write("same.png", noisy), black = write("black.png", hidden_as(0)), white = write("white.png", hidden_as(1));
  const std::string out = slurp(denoised(same, "out_same.png"));
  EXPECT_EQ(slurp(denoised(black, "out_black.png")), out);
  EXPECT_EQ(slurp(denoised(white, "out_white.png")), out);
  EXPECT_GT(psnr(read_image(folder.file("out_black.png")), clean), psnr(noisy, clean) + 6);
  // Neither may the share that --sigma leaves.
  EXPECT_EQ(slurp(denoised(black, "out_black.png", {"--sigma", "10"})), slurp(denoised(white, "out_white.png", {"--sigma", "10"})));
  const Image limited = read_image(folder.file("out_black.png"));
  EXPECT_NEAR(255 * std::pow(10.0, -psnr(limited, read_image(same)) / 20), 10, 0.6) << "over what is seen";
  const auto estimate = [&](const std::string& in) {
    const Outcome outcome = run_frieze({"denoise", in, "-o", folder.file("e.png"), "--device", "cpu"});
    return outcome.out.substr(outcome.out.find("noise about"));
  };
  EXPECT_EQ(estimate(black), estimate(same));
  // The other commands that look at neighbours.
  const auto run = [&](const std::string& in) {
    expect_success({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("r.png")});
    return slurp(folder.file("r.png"));
  };
  EXPECT_EQ(run(black), run(white));
  const auto roundtrip = [&](const std::string& in) {
    expect_success({"vae", "roundtrip", "--model", kDcae, "--device", "cpu", "--in", in, "--out", folder.file("d.png")});
    return slurp(folder.file("d.png"));
  };
  EXPECT_EQ(roundtrip(black), roundtrip(white));
  EXPECT_EQ(read_image(folder.file("d.png")).channels, 4);
}

// What lies behind the edge of what is seen is not known, which costs a little of the pixels next to it; the others are as without alpha.
TEST_F(Pictures, TransparencyCostsNothingButItsEdge) {
  const Image clean = piece(192, 96), noisy = add_noise(clean, 25.0 / 255, 1);
  constexpr int kEdge = 64, kNear = 24;
  const auto right_of = [&](const Image& image, int from) {
    return with_alpha(image, [from](int x, int) { return x >= from ? 1.0f : 0.0f; });
  };
  const Image without = read_image(denoised(write("rgb.png", noisy), "out.png"));
  Image with = read_image(denoised(write("rgba.png", right_of(noisy, kEdge)), "out_alpha.png"));
  EXPECT_GT(psnr(with, clean), psnr(without, right_of(clean, kEdge)) - 0.6) << "all that is seen";
  for (std::size_t p = 0; p < with.pixel_count(); ++p) {
    if (p % 192 < kEdge + kNear) with.pixels[4 * p + 3] = 0;
  }
  EXPECT_NEAR(psnr(with, clean), psnr(without, right_of(clean, kEdge + kNear)), 0.1);
}

TEST_F(Pictures, RunGivesAPictureOfItsSize) {
  const std::string in = write("in.png", with_alpha(piece(23, 14), [](int x, int y) { return static_cast<float>((x + y) % 5) / 4.0f; }));
  for (const char* model : {"denoiser", "quickstart"}) {
    expect_success({"run", model, "--device", "cpu", "--in", in, "--out", folder.file("out.png")});
    const Image out = read_image(folder.file("out.png")), before = read_image(in);
    ASSERT_EQ(out.width, 23) << "the model's stride is not the user's";
    ASSERT_EQ(out.height, 14);
    ASSERT_EQ(out.channels, 4);
    for (std::size_t i = 3; i < out.pixels.size(); i += 4) ASSERT_EQ(out.pixels[i], before.pixels[i]);
  }
}

TEST_F(Pictures, GreySideBySideKeepsItsProfile) {
  Image grey{40, 24, 1, std::vector<float>(40 * 24, 0.5F)};
  grey.tags.icc = bytes_of(make_icc(IccKind::grey));
  const std::string in = write("grey.png", grey), colour = write("colour.png", piece(40, 24));
  for (const char* name : {"both.png", "both.jpg"}) {
    expect_success({"compare", in, in, "-o", folder.file(name)});
    EXPECT_EQ(read_image(folder.file(name)).channels, 1);
    EXPECT_EQ(read_image(folder.file(name)).tags.icc, grey.tags.icc);
    expect_success({"compare", in, colour, "-o", folder.file(name)});
    const Image both = read_image(folder.file(name));
    EXPECT_EQ(both.channels, 3);
    EXPECT_TRUE(both.tags.icc.empty() && both.notes.empty()) << "a profile of grey says nothing of three colours";
  }
}

TEST_F(Pictures, DcaeKeepsTransparencyOrRefusesIt) {
  const std::string in = write("in.png", with_alpha(piece(16, 8), [](int x, int) { return static_cast<float>(x) / 15.0f; }));
  const Arguments model{"--model", kDcae, "--device", "cpu", "--in", in, "--out"};
  const auto dcae = [&](const std::string& task, const std::string& out, const Arguments& more = {}) {
    Arguments all{"vae", task};
    all.insert(all.end(), model.begin(), model.end());
    all.push_back(folder.file(out));
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  expect_success(dcae("roundtrip", "out.png"));
  const Image before = read_image(in), after = read_image(folder.file("out.png"));
  ASSERT_EQ(after.channels, 4);
  for (std::size_t i = 3; i < before.pixels.size(); i += 4) ASSERT_EQ(after.pixels[i], before.pixels[i]);
  expect_refusal(dcae("roundtrip", "out.jpg"), "a JPEG cannot hold transparency");
  expect_success(dcae("roundtrip", "out.jpg", {"--flatten"}));
  expect_refusal(dcae("encode", "z.safetensors"), "a latent cannot hold transparency");
  expect_success(dcae("encode", "z.safetensors", {"--flatten=black"}));
  EXPECT_TRUE(holds(note, "transparency")) << note;
}

TEST_F(Pictures, DcaeConvertsToSrgb) {
  Image exchanged = piece(16, 16);  // red and green exchanged, and a profile that says so
  for (std::size_t p = 0; p < exchanged.pixels.size(); p += 3) std::swap(exchanged.pixels[p], exchanged.pixels[p + 1]);
  exchanged.tags.icc = bytes_of(make_icc(IccKind::red_and_green_exchanged));
  const auto latent = [&](const std::string& in) {
    expect_success({"vae", "encode", "--model", kDcae, "--device", "cpu", "--in", in, "--out", folder.file("z.safetensors")});
    return Weights::open(folder.file("z.safetensors")).tensor("latent").floats();
  };
  const std::vector<float> plain = latent(write("plain.png", piece(16, 16)));
  EXPECT_TRUE(note.empty()) << note;
  const std::vector<float> converted = latent(write("exchanged.png", exchanged));
  EXPECT_TRUE(holds(note, "converted to sRGB")) << note;
  ASSERT_EQ(plain.size(), converted.size());
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(plain[i], converted[i], 0.05);
  expect_success({"run", "dcae:" + kDcae, "--device", "cpu", "--in", folder.file("exchanged.png"), "--out", folder.file("r.png")});
  EXPECT_TRUE(holds(note, "converted to sRGB") && read_image(folder.file("r.png")).tags.icc.empty()) << note;
  // compare: equal once both are sRGB, and as they are where both have one profile.
  Outcome outcome = run_frieze({"compare", folder.file("plain.png"), folder.file("exchanged.png")});
  EXPECT_TRUE(holds(outcome.err, "profiles differ")) << outcome.err;
  EXPECT_GT(psnr(to_srgb(exchanged), piece(16, 16)), 48);
  outcome = run_frieze({"compare", folder.file("exchanged.png"), folder.file("exchanged.png")});
  EXPECT_TRUE(outcome.err.empty()) << outcome.err;
}

TEST_F(Pictures, TheNameSaysTheFormat) {
  const std::string in = write("in.png", piece());
  for (const std::string out : {"a.jpg", "b.JPEG", "c.png", "d.PNG"}) {
    const Arguments to{"-o", folder.file(out)};
    expect_success({"noise", in, "-o", folder.file(out)});
    const std::string file = slurp(folder.file(out));
    EXPECT_EQ(file.starts_with("\xff\xd8\xff"), out[2] == 'j' || out[2] == 'J') << out;
    EXPECT_EQ(file.starts_with("\x89PNG"), out[2] == 'p' || out[2] == 'P') << out;
  }
  const auto size = [&](const std::string& quality) {
    expect_success({"denoise", in, "-o", folder.file("q.jpg"), "--device", "cpu", "--quality", quality});
    return slurp(folder.file("q.jpg")).size();
  };
  EXPECT_LT(size("20"), size("95"));
  for (const std::string out : {"x.webp", "x.tiff", "x.bmp", "x", "x.jpg.gif"}) {
    const std::string says = "a picture can be written as .png, .jpg or .jpeg";
    expect_refusal({"noise", in, "-o", folder.file(out)}, says);
    expect_refusal({"denoise", in, "-o", folder.file(out), "--device", "cpu"}, says);
    expect_refusal({"compare", in, in, "-o", folder.file(out)}, says);
    expect_refusal({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file(out)}, says);
  }
  for (const std::string quality : {"0", "101", "-1", "high", "95.5"}) {
    expect_refusal({"noise", in, "-o", folder.file("x.jpg"), "--quality", quality}, "--quality");
  }
  expect_refusal({"noise", in, "-o", folder.file("x.jpg"), "--flatten=mauve"}, "--flatten: expected white, black, grey or #RRGGBB");
  expect_refusal({"noise", in, "-o", folder.file("x.jpg"), "--max-pixels", "0"}, "--max-pixels");
}

TEST_F(Pictures, WhatIsCutOffIsToldInOneLineOrStrictlyRefused) {
  const std::string whole = make_jpeg(48, 32, 3, samples_of(piece()), {.progressive = true});
  const std::string cut = folder.write("cut.jpg", whole.substr(0, whole.size() * 2 / 3));
  const std::string png = slurp(write("whole.png", piece()));
  const std::string headless = folder.write("headless.png", png.substr(0, png.size() - 12));
  for (const std::string& in : {cut, headless}) {
    const std::vector<Arguments> commands = {{"denoise", in, "-o", folder.file("o.png"), "--device", "cpu"},
                                             {"noise", in, "-o", folder.file("o.png")},
                                             {"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("o.png")},
                                             {"compare", folder.file("whole.png"), in},
                                             {"inspect", "quickstart", "--device", "cpu", "--in", in},
                                             {"vae", "roundtrip", "--model", kDcae, "--device", "cpu", "--in", in}};
    for (Arguments command : commands) {
      expect_success(command);
      EXPECT_TRUE(note.starts_with("frieze: note: " + in + ": it ")) << note;
      EXPECT_EQ(std::count(note.begin(), note.end(), '\n'), 1) << note;
      std::filesystem::remove(folder.file("o.png"));
      command.push_back("--strict");
      expect_refusal(command, in);
      command.back() = "--max-pixels=1535";
      expect_refusal(command, "48x32 pixels, expected 1 to 1535 of them");
    }
  }
}

// Every reader refuses at once what is no regular file.
TEST_F(Pictures, OnlyRegularFilesAreRead) {
  ASSERT_EQ(::mkfifo(folder.file("pipe.png").c_str(), 0600), 0);
  std::filesystem::create_symlink("pipe.png", folder.file("link.png"));
  std::filesystem::create_directory(folder.file("folder.png"));
  const int bound = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string place = folder.file("s.png");
  ASSERT_LT(place.size(), sizeof address.sun_path);
  std::copy(place.begin(), place.end(), address.sun_path);
  ASSERT_EQ(::bind(bound, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& in :
       {folder.file("pipe.png"), folder.file("link.png"), place, std::string("/dev/zero"), std::string("/dev/null")}) {
    expect_refusal({"denoise", in, "-o", folder.file("o.png"), "--device", "cpu"}, in);
    expect_refusal({"noise", in, "-o", folder.file("o.png")}, in);
    expect_refusal({"compare", in, in}, in);
    expect_refusal({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("o.png")}, in);
    expect_refusal({"run", "quickstart", "--device", "cpu", "--in", source_path("tests/data/chelsea.png"), "--out", folder.file("o.png"),
                    "--weights", in},
                   in);
  }
  expect_refusal({"noise", folder.file("folder.png"), "-o", folder.file("o.png")}, "got a folder");
  std::filesystem::create_directory(folder.file("model"));
  ASSERT_EQ(::mkfifo(folder.file("model/config.json").c_str(), 0600), 0);
  expect_refusal({"vae", "roundtrip", "--model", folder.file("model"), "--device", "cpu", "--in", source_path("tests/data/chelsea.png")},
                 "config.json");
  ::close(bound);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 30) << "nobody may wait for a pipe";
}

std::string deflated_zeros(std::size_t count) {
  std::string out(::compressBound(count), '\0');
  uLongf size = out.size();
  const std::string zeros(count, '\0');
  ::compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(zeros.data()), count, 9);
  out.resize(size);
  return out;
}

// A small file that is refused costs neither time nor memory.
TEST_F(Pictures, SmallFilesThatAreRefusedCostNothing) {
  const auto png = [](std::uint32_t width, std::uint32_t height, int depth, int colour, const std::string& data) {
    return kPngSignature + png_header(width, height, depth, colour) + png_chunk("IDAT", data) + png_chunk("IEND", "");
  };
  std::string wrong_end = deflated_zeros(16383 * 2049);
  wrong_end.back() ^= 1;
  std::string wide_wrong_end = deflated_zeros(5500 * 18001);
  wide_wrong_end.back() ^= 1;
  const std::string jpeg = make_jpeg(48, 32, 3, samples_of(piece()));
  const auto claiming = [&](unsigned side, const std::string& data) {
    std::string out = jpeg.substr(0, jpeg.find("\xff\xda") + 14) + data;
    out.replace(jpeg.find("\xff\xc0") + 5, 4, big_endian(side, 2) + big_endian(side, 2));
    return out;
  };
  const std::string progressive = make_jpeg(48, 32, 3, samples_of(piece()), {.progressive = true});
  const std::size_t last = progressive.rfind("\xff\xda");
  std::string scans = progressive.substr(0, last);
  while (scans.size() < 60000) scans += progressive.substr(last, progressive.size() - 2 - last);
  const std::pair<const char*, std::string> files[] = {
      {"claims.png", png(16384, 16383, 8, 2, deflated_zeros(1000))},
      {"bits.png", png(16384, 16383, 1, 0, wrong_end)},
      {"short.png", png(16384, 16383, 1, 0, deflated_zeros(16383 * 2049 - 5000))},
      {"colours.png", png(6000, 5500, 8, 2, wide_wrong_end)},
      {"header.jpg", claiming(65500, "")},
      {"large.jpg", claiming(16000, "")},
      {"zeros.jpg", claiming(16000, std::string(90000, '\0'))},
      {"end.jpg", claiming(16000, "\xff\xd9")},
      {"scans.jpg", scans},
      {"strict.jpg", claiming(4000, std::string(90000, '\0'))},
  };
  for (const auto& [name, file] : files) {
    ASSERT_LT(file.size(), 100000U) << name;
    folder.write(name, file);
    const auto before = folder.count();
    // All memory, the program's own included, and all time of the processor.
    const std::string limits = kSanitized ? "" : "ulimit -v 120000; ulimit -t 2; ";
    const std::string command = "( " + limits + "exec '" + frieze_program() + "' noise '" + folder.file(name) + "' -o '" +
                                folder.file("o.png") + "' --strict ) >/dev/null 2>'" + folder.file(name) + ".err'";
    const auto start = std::chrono::steady_clock::now();
    const int status = std::system(command.c_str());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const std::string err = slurp(folder.file(name) + ".err");
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2) << name << ' ' << err;
    EXPECT_TRUE(err.starts_with("frieze: error: " + folder.file(name) + ": ")) << err;
    EXPECT_EQ(std::count(err.begin(), err.end(), '\n'), 1) << err;
    EXPECT_EQ(folder.count(), before + 1);  // what it said
    EXPECT_LT(seconds, kSanitized ? 20 : 4) << name << ": on a machine that is busy; ulimit counts what is its own";
  }
}

}  // namespace
}  // namespace frieze::test
