// What a small file may cost before it is refused: a second, and a hundred megabytes. Each is refused by what stands at its end, or by what
// a command cannot do with it, so that nothing may be decoded before all of it was looked at.
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>

#include "support/sanitizers.h"
#include "tools/jpeg_maker.h"
#include "tools/shell.h"

namespace frieze::test {
namespace {

std::string png_of(std::uint32_t width, std::uint32_t height, int depth, int colour, const std::string& data, const std::string& extra = "",
                   const std::string& after = "") {
  return kPngSignature + png_header(width, height, depth, colour) + extra + png_chunk("IDAT", data) + after + png_chunk("IEND", "");
}

// `count` zeros, compressed; `wrong`: with a checksum that is not theirs.
std::string deflated(std::size_t count, bool wrong) {
  std::string out(::compressBound(count), '\0');
  uLongf size = out.size();
  ::compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(std::string(count, '\0').data()), count, 9);
  out.resize(size);
  if (wrong) out.back() ^= 1;
  return out;
}

class Budgets : public ::testing::Test {
 protected:
  // Exit 2 with one line, within the time of a processor and the address space that a small picture needs; nothing is left.
  void expect_cheap_refusal(const std::string& command, const std::string& says) {
    const auto before = folder.count();
    const std::string limits = kSanitized ? "" : "ulimit -v 120000; ulimit -t 1; ";
    // One thread: the stacks of a machine of many processors are address space too.
    const Outcome outcome = shell(limits + "export FRIEZE_THREADS=1; exec " + quoted(frieze_program()) + " " + command);
    EXPECT_EQ(outcome.status, 2) << command << '\n' << outcome.err;
    EXPECT_TRUE(outcome.err.starts_with("frieze: error: ")) << command << '\n' << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << "expected '" << says << "' in: " << outcome.err;
    EXPECT_EQ(folder.count(), before) << command;
  }
  std::string write(const std::string& name, const std::string& bytes) {
    EXPECT_LT(bytes.size(), 100'000U) << name;
    folder.write(name, bytes);
    return quoted(folder.file(name));
  }
  void expect_damage_is_cheap(const std::string& name, const std::string& bytes, const std::string& says, const std::string& strictly) {
    const std::string in = write(name, bytes), noise = "noise " + in + " -o " + quoted(folder.file("o.png"));
    if (!says.empty()) expect_cheap_refusal(noise, says);
    expect_cheap_refusal(noise + " --strict", strictly);
  }
  TempFolder folder;
};

TEST_F(Budgets, DamageAtTheEndOfAPngThatClaimsMuch) {
  const std::string palette = png_chunk("PLTE", std::string(6, '\0')) + png_chunk("tRNS", std::string("\0\1", 2));
  const std::string key = png_chunk("tRNS", std::string(2, '\0'));
  const auto expect_cheap = [&](const std::string& name, const std::string& bytes) {
    expect_damage_is_cheap(name, bytes, name + ": cannot decode: IDAT: incorrect data check", name);
  };
  // One bit becomes four values, or two.
  const std::string bits = deflated(2001UL * 8200, true);
  expect_cheap("palette.png", png_of(16000, 8200, 1, 3, bits, palette));
  expect_cheap("key.png", png_of(16000, 8200, 1, 0, bits, key));
  expect_cheap("grey.png", png_of(16000, 8200, 1, 0, bits));
  // One row is all of it.
  expect_cheap("wide.png", png_of(95'000'000, 1, 8, 0, deflated(95'000'001, true)));
  expect_cheap("wide_rgba.png", png_of(24'000'000, 1, 8, 6, deflated(96'000'001, true)));
  // Behind the pixels, and only strictly a fault.
  const std::string rgb = deflated(30001UL * 3200, false);
  const std::string cut = png_of(10000, 3200, 8, 2, rgb);
  expect_damage_is_cheap("no_end.png", cut.substr(0, cut.size() - 12), "", "before its end marker");
  std::string wrong = cut;
  wrong.back() ^= 1;
  expect_damage_is_cheap("wrong_end.png", wrong, "wrong checksum: IEND", "wrong checksum: IEND");
  std::string text = png_of(10000, 3200, 8, 2, rgb, "", png_chunk("tEXt", "x"));
  ++text[text.find("tEXt") + 4];
  expect_damage_is_cheap("wrong_text.png", text, "", "a chunk is damaged");
  const auto after = [&](const std::string& chunk) { return png_of(10000, 3200, 8, 2, rgb, "", chunk); };
  expect_damage_is_cheap("unknown.png", after(png_chunk("ABCD", "x")), "ABCD: a critical chunk", "ABCD: a critical chunk");
  expect_damage_is_cheap("second_header.png", after(png_header(1, 1, 8, 0)), "IHDR: a critical chunk", "IHDR: a critical chunk");
  expect_damage_is_cheap("no_name.png", after(png_chunk("a b ", "x")), "has no name", "has no name");
  expect_damage_is_cheap("more.png", png_of(10000, 3000, 8, 2, rgb), "", "too much image data");
  expect_damage_is_cheap("fewer.png", png_of(10000, 3210, 8, 2, rgb), "not enough image data", "not enough image data");
}

TEST_F(Budgets, DamageAtTheEndOfAJpegThatClaimsMuch) {
  const auto even = [](int side, const JpegSettings& settings) {
    return make_jpeg(side, side, 1, std::string(static_cast<std::size_t>(side) * static_cast<std::size_t>(side), '\x40'), settings);
  };
  const std::string bogus("\xff\xc4\0\5\0\0\0", 7), unknown("\xff\xf7\0\2", 4);
  const auto in_front_of_end = [](const std::string& file, const std::string& bytes) {
    return file.substr(0, file.size() - 2) + bytes + "\xff\xd9";
  };
  const std::string plain = even(2800, {.quality = 50}), progressive = even(3900, {.quality = 50, .progressive = true});
  const std::string arithmetic = even(4000, {.arithmetic = true}), both = even(4000, {.progressive = true, .arithmetic = true});
  for (const auto& [name, file] :
       {std::pair{"plain", &plain}, {"progressive", &progressive}, {"arithmetic", &arithmetic}, {"both", &both}}) {
    const std::string of = name;
    expect_damage_is_cheap(of + "_table.jpg", in_front_of_end(*file, bogus), "cannot decode: Bogus marker length", "");
    expect_damage_is_cheap(of + "_marker.jpg", in_front_of_end(*file, unknown), "cannot decode: Unsupported marker type 0xf7", "");
    const std::size_t frame = std::min({file->find("\xff\xc0"), file->find("\xff\xc2"), file->find("\xff\xc9"), file->find("\xff\xca")});
    expect_damage_is_cheap(of + "_frames.jpg", in_front_of_end(*file, file->substr(frame, 13)), "two SOF markers", "");
    expect_damage_is_cheap(of + "_tail.jpg", in_front_of_end(*file, std::string(40, '\1')), "", "");
  }
  // A hundred scans, each of which goes over every block for a few bytes.
  const std::size_t last = progressive.rfind("\xff\xda");
  std::string scans = progressive.substr(0, last);
  for (int i = 0; i < 90; ++i) scans += progressive.substr(last, progressive.size() - 2 - last).substr(0, 14);
  const std::string few = even(2000, {.quality = 50, .progressive = true});
  std::string small = few.substr(0, few.size() - 2);
  const std::string ac("\xff\xda\0\x08\1\1\0\1\x3f\0", 10);
  for (int i = 0; i < 80; ++i) small += ac + std::string(2, '\0');
  expect_damage_is_cheap("scans.jpg", small + "\xff\xd9", "", "");
  // One that claims all the pixels there may be, for next to nothing.
  const std::string tiny = even(64, {.arithmetic = true});
  std::string huge = tiny;
  huge.replace(huge.find("\xff\xc9") + 5, 4, big_endian(16383, 2) + big_endian(16383, 2));
  expect_damage_is_cheap("huge.jpg", huge, "can hardly hold 16383x16383 pixels", "can hardly hold 16383x16383 pixels");
}

// Right files that a command can do nothing with.
TEST_F(Budgets, WhatACommandRefusesIsNotDecoded) {
  const std::string model = source_path("tests/golden/dc_ae/in"), out = quoted(folder.file("o.png")), jpeg = quoted(folder.file("o.jpg"));
  const std::string rgba = write("rgba.png", png_of(4800, 4800, 8, 6, deflated(19201UL * 4800, false)));
  const std::string deep = write("deep.png", png_of(3900, 3900, 16, 2, deflated(23401UL * 3900, false)));
  const std::string wide = write("wide.png", png_of(66000, 1400, 8, 0, deflated(66001UL * 1400, false)));
  const std::string odd = write("odd.png", png_of(4801, 4800, 8, 2, deflated(14404UL * 4800, false)));
  const std::string bits = write("bits.png", png_of(16000, 16000, 1, 0, deflated(2001UL * 16000, false)));
  const std::string small = write("small.png", make_png(2, 1, 8, 0, std::string("\0\1\2", 3)));
  for (const std::string& command :
       {"noise " + rgba + " -o ", "denoise --device cpu " + rgba + " -o ", "run quickstart --device cpu --in " + rgba + " --out ",
        "vae roundtrip --device cpu --model " + quoted(model) + " --in " + rgba + " --out "}) {
    expect_cheap_refusal(command + jpeg, "a JPEG cannot hold transparency");
  }
  expect_cheap_refusal("noise " + deep + " -o " + jpeg, "a JPEG cannot hold 16 bits");
  expect_cheap_refusal("compare " + deep + " " + deep + " -o " + jpeg, "a JPEG cannot hold 16 bits");
  expect_cheap_refusal("denoise --device cpu " + wide + " -o " + jpeg, "a JPEG has at most 65500 pixels along each side, got 66000x1400");
  expect_cheap_refusal("compare " + wide + " " + wide + " -o " + jpeg, "at most 65500 pixels");
  expect_cheap_refusal("compare " + rgba + " " + small, "cannot compare a picture of 2x1 pixels with one of 4800x4800");
  expect_cheap_refusal("compare " + small + " " + small, "at least 11x11 pixels");
  expect_cheap_refusal(
      "vae encode --device cpu --model " + quoted(model) + " --in " + rgba + " --out " + quoted(folder.file("z.safetensors")),
      "a latent cannot hold transparency");
  expect_cheap_refusal("run dcae:" + quoted(model) + " --device cpu --in " + odd + " --out " + out, "multiples of 8 here, got 4801x4800");
  const std::string rgb = write("rgb.png", png_of(4800, 4800, 8, 2, deflated(14401UL * 4800, false)));
  for (const std::string& command : {"vae encode --out " + quoted(folder.file("z.safetensors")), "vae roundtrip --out " + out}) {
    expect_cheap_refusal(command + " --device cpu --max-memory 100M --model " + quoted(model) + " --in " + rgb,
                         "would hold more than the 100.00 MiB allowed");
  }
  for (const std::string& command : {std::string("run quickstart --out ") + out, std::string("run denoiser --out ") + out,
                                     std::string("inspect quickstart"), std::string("verify quickstart"), std::string("profile denoiser"),
                                     std::string("bench denoiser"), "run dcae:" + quoted(model) + " --out " + out}) {
    expect_cheap_refusal(command + " --device cpu --max-memory 100M --in " + rgba, "would hold more than the 100.00 MiB allowed");
    expect_cheap_refusal(command + " --device cpu --max-pixels 1000 --in " + bits, "--max-pixels");
  }
}

}  // namespace
}  // namespace frieze::test
