// What commands write: through links, never over what they read, all of an input's files or none, and not without their report.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include <frieze/core/weights.h>

#include "tools/image/image.h"
#include "tools/shell.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

const std::string kPhoto = source_path("tests/data/chelsea.png");
const std::string kModel = source_path("tests/golden/dc_ae/lite");

class CommandOutputs : public ::testing::Test {
 protected:
  // A small picture, so that the CPU reference is done in a moment.
  std::string picture(const std::string& name, float value = 0.5F) {
    tools::Image image{32, 32, 3, {}};
    for (int i = 0; i < 32 * 32 * 3; ++i) image.pixels.push_back(value * static_cast<float>(i * 7919 % 97) / 96);
    tools::write_image(folder.file(name), image);
    return folder.file(name);
  }
  // Exit 2, one line, and every file as it was.
  void expect_refusal(const Arguments& arguments, const std::string& says) {
    const auto before = contents();
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments[0] << ' ' << says;
    EXPECT_EQ(outcome.out, "") << says;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << "expected '" << says << "' in: " << outcome.err;
    EXPECT_EQ(contents(), before) << says;
  }
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> files;
    std::error_code unreadable;  // links in a circle
    for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
      const std::string kind = fs::is_symlink(entry.symlink_status()) ? "link:" : "";
      files[entry.path().string()] = kind + (entry.is_regular_file(unreadable) ? slurp(entry.path().string()) : "");
    }
    return files;
  }
  TempFolder folder;
};

TEST_F(CommandOutputs, GoThroughALinkWhoseEndIsNotThereYet) {
  fs::create_directory(folder.file("res"));
  const std::string in = picture("p.png");
  save(folder.file("x.safetensors"), {{"x", {Shape{2}, DType::f32, {1, 2}}}});
  for (const std::string& name :
       {std::string("noise.png"), std::string("denoise.png"), std::string("run.png"), std::string("compare.png"),
        std::string("taps.safetensors"), std::string("op.safetensors"), std::string("page.html"), std::string("z.safetensors")}) {
    fs::create_symlink("res/" + name, folder.file(name));
  }
  EXPECT_EQ(run_frieze({"noise", in, "-o", folder.file("noise.png")}).status, 0);
  EXPECT_EQ(run_frieze({"denoise", in, "-o", folder.file("denoise.png"), "--device", "cpu"}).status, 0);
  EXPECT_EQ(run_frieze({"compare", in, in, "-o", folder.file("compare.png")}).status, 0);
  EXPECT_EQ(run_frieze({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("run.png"), "--tap", "*", "--tap-out",
                        folder.file("taps.safetensors")})
                .status,
            0);
  EXPECT_EQ(run_frieze({"op", "silu", "--in", folder.file("x.safetensors"), "--out", folder.file("op.safetensors")}).status, 0);
  EXPECT_EQ(run_frieze({"profile", "quickstart", "--device", "cpu", "--size", "16x16", "--rounds", "1", "--html", folder.file("page.html")})
                .status,
            0);
  EXPECT_EQ(run_frieze({"vae", "encode", "--model", kModel, "--device", "cpu", "--in", in, "--out", folder.file("z.safetensors")}).status,
            0);
  std::size_t written = 0;
  for (const auto& entry : fs::directory_iterator(folder.file("res"))) {
    EXPECT_TRUE(entry.is_regular_file() && !entry.is_symlink()) << entry.path();
    EXPECT_TRUE(fs::is_symlink(folder.path() / entry.path().filename())) << "the link stays";
    ++written;
  }
  EXPECT_EQ(written, 8U);
  fs::create_symlink("loop.png", folder.file("loop.png"));
  expect_refusal({"noise", in, "-o", folder.file("loop.png")}, "its links lead in a circle");
}

TEST_F(CommandOutputs, NeverReplaceStandardOutputOrADevice) {
  const std::string in = picture("p.png");
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  for (const char* place : {"/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/1", "/dev/null", "/dev/full"}) {
    const Outcome outcome = run_frieze({"noise", in, "-o", place});
    EXPECT_EQ(outcome.status, 2) << place;
    EXPECT_NE(outcome.err.find("cannot be written"), std::string::npos) << outcome.err;
  }
  // Standard output is a file without a name.
  const Outcome gone = shell("exec >" + quoted(folder.file("gone")) + "; rm " + quoted(folder.file("gone")) + "; " +
                             quoted(frieze_program()) + " noise " + quoted(in) + " -o /dev/stdout");
  EXPECT_EQ(gone.status, 2) << gone.err;
  EXPECT_TRUE(fs::is_symlink("/dev/stdout"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  expect_refusal({"noise", in, "-o", folder.file("pipe")}, "it is a device, pipe or socket");
  expect_refusal({"op", "silu", "--in", in, "--out", folder.file("pipe")}, "it is a device, pipe or socket");
}

TEST_F(CommandOutputs, AreNeverWhatIsRead) {
  const std::string in = picture("p.png"), other = picture("q.png", 0.25F);
  fs::create_hard_link(in, folder.file("hard.png"));
  fs::create_symlink("p.png", folder.file("soft.png"));
  fs::create_directory_symlink(".", folder.file("here"));
  const std::string over = "it would be written over ";
  for (const std::string name : {"p.png", "hard.png", "soft.png", "./p.png", "here/p.png"}) {
    const std::string out = folder.file(name);
    expect_refusal({"noise", in, "-o", out}, over);
    expect_refusal({"denoise", in, "-o", out, "--device", "cpu"}, over);
    expect_refusal({"compare", other, in, "-o", out}, over);
    expect_refusal({"compare", in, other, "-o", out}, over);
    expect_refusal({"run", "quickstart", "--device", "cpu", "--in", in, "--out", out}, over);
    expect_refusal({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("o.png"), "--tap", "*", "--tap-out", out},
                   over);
    expect_refusal({"profile", "quickstart", "--device", "cpu", "--in", in, "--html", out}, over);
    expect_refusal({"vae", "roundtrip", "--model", kModel, "--in", in, "--out", out}, over);
  }
  save(folder.file("x.safetensors"), {{"x", {Shape{2}, DType::f32, {1, 2}}}});
  expect_refusal({"op", "silu", "--in", folder.file("x.safetensors"), "--out", folder.file("x.safetensors")}, over);
}

TEST_F(CommandOutputs, AreNeverTheModelsOwnFiles) {
  const std::string in = picture("p.png");
  fs::copy(kModel, folder.file("model"));
  fs::permissions(folder.file("model"), fs::perms::owner_all);
  for (const auto& entry : fs::directory_iterator(folder.file("model")))
    fs::permissions(entry, fs::perms::owner_read | fs::perms::owner_write);
  const std::string weights = folder.file("model/diffusion_pytorch_model.safetensors"), over = "it would be written over ";
  expect_refusal({"vae", "encode", "--model", folder.file("model"), "--in", in, "--out", weights}, over);
  expect_refusal({"vae", "encode", "--model", folder.file("model/config.json"), "--in", in, "--out", weights}, over);
  expect_refusal({"vae", "encode", "--model", folder.file("model"), "--in", in, "--out", folder.file("model/golden.safetensors")}, over);
  expect_refusal({"vae", "encode", "--model", kModel, "--weights", weights, "--in", in, "--out", weights}, over);
  expect_refusal({"run", "dcae:" + folder.file("model"), "--in", in, "--out", folder.file("o.png"), "--tap", "*", "--tap-out", weights},
                 over);
  expect_refusal({"run", "quickstart", "--weights", weights, "--in", in, "--out", folder.file("o.png"), "--tap", "*", "--tap-out", weights},
                 over);
  expect_refusal({"profile", "dcae:" + folder.file("model"), "--html", folder.file("model/config.json")}, over);
}

TEST_F(CommandOutputs, AreNeverOneFile) {
  const std::string in = picture("p.png"), out = folder.file("o.png");
  const std::string two = "two outputs would be this file";
  fs::create_symlink("o.png", folder.file("link.png"));
  const auto run = [&](const std::string& taps) {
    return Arguments{"run", "quickstart", "--device", "cpu", "--in", in, "--out", out, "--tap", "*", "--tap-out", taps};
  };
  expect_refusal(run(out), two);
  expect_refusal(run(folder.file("./o.png")), two);
  expect_refusal(run(folder.file("link.png")), two);
  picture("o.png");
  fs::create_hard_link(out, folder.file("hard"));
  expect_refusal(run(folder.file("hard")), two);
  // The report goes to a file as well.
  const Outcome report = run_frieze({"noise", in, "-o", folder.file("report.png")}, folder.file("report.png"));
  EXPECT_EQ(report.status, 2);
  EXPECT_NE(report.err.find("standard output"), std::string::npos) << report.err;
}

// A report appended to a picture that is read would end it.
TEST_F(CommandOutputs, StandardOutputAndErrorAreNoInputsEither) {
  const std::string in = picture("p.png"), other = picture("q.png");
  fs::create_hard_link(in, folder.file("hard.png"));
  fs::create_symlink("p.png", folder.file("link.png"));
  const auto before = contents();
  for (const std::string& name : {in, folder.file("hard.png"), folder.file("link.png")}) {
    for (const std::string& command :
         {"compare " + quoted(name) + " " + quoted(other), "compare " + quoted(other) + " " + quoted(name),
          "inspect quickstart --device cpu --in " + quoted(name), "verify quickstart --device cpu --in " + quoted(name),
          "bench quickstart --device cpu --rounds 1 --in " + quoted(name),
          "noise " + quoted(name) + " -o " + quoted(folder.file("o.png"))}) {
      for (const std::string to : {" >>", " 1<>"}) {
        const Outcome outcome = shell(quoted(frieze_program()) + " " + command + to + quoted(in));
        EXPECT_EQ(outcome.status, 2) << command << outcome.err;
        EXPECT_NE(outcome.err.find("standard output goes to this file, which is read"), std::string::npos) << command << outcome.err;
        EXPECT_EQ(contents(), before) << command;
      }
      const Outcome messages = shell(quoted(frieze_program()) + " " + command + " 2>>" + quoted(in));
      EXPECT_EQ(messages.status, 2) << command;
      EXPECT_NE(messages.out.find("standard error goes to this file, which is read"), std::string::npos) << command << messages.out;
      EXPECT_EQ(contents(), before) << command;
    }
  }
}

TEST_F(CommandOutputs, HaveNamesThatSayWhatTheyAre) {
  const std::string in = picture("p.png");
  save(folder.file("x.safetensors"), {{"x", {Shape{2}, DType::f32, {1, 2}}}});
  for (const std::string ending : {".png", ".JPG", ".npz", ".pt", ".html"}) {
    expect_refusal({"op", "silu", "--in", folder.file("x.safetensors"), "--out", folder.file("y" + ending)},
                   "expected an ending of .safetensors");
    expect_refusal({"run", "quickstart", "--device", "cpu", "--in", in, "--out", folder.file("o.png"), "--tap", "*", "--tap-out",
                    folder.file("t" + ending)},
                   "expected an ending of .safetensors");
  }
  for (const std::string ending : {".png", ".pdf", ".json"}) {
    expect_refusal({"profile", "quickstart", "--device", "cpu", "--html", folder.file("r" + ending)},
                   "expected an ending of .html or .htm");
  }
}

TEST_F(CommandOutputs, InPlaceOnlyIfItIsAskedFor) {
  const std::string in = picture("p.png");
  const std::string before = slurp(in);
  fs::create_symlink("p.png", folder.file("link.png"));
  ASSERT_EQ(::chmod(in.c_str(), 0640), 0);
  EXPECT_EQ(run_frieze({"denoise", folder.file("link.png"), "--in-place", "--device", "cpu"}).status, 0);
  EXPECT_NE(slurp(in), before);
  EXPECT_TRUE(fs::is_symlink(folder.file("link.png")));
  EXPECT_EQ(fs::status(in).permissions(), fs::perms(0640));
  expect_refusal({"denoise", in, "--in-place", "-o", folder.file("o.png")}, "--in-place");
  expect_refusal({"denoise", in, "--device", "cpu"}, "--out is required");
}

TEST_F(CommandOutputs, AppearOnlyWithTheirReport) {
  const std::string in = picture("p.png");
  save(folder.file("x.safetensors"), {{"x", {Shape{2}, DType::f32, {1, 2}}}});
  const std::string frieze = quoted(frieze_program()) + " ", out = quoted(folder.file("out.png"));
  const std::vector<std::string> writing = {
      "noise " + quoted(in) + " -o " + out,
      "denoise --device cpu " + quoted(in) + " -o " + out,
      "denoise --device cpu --json " + quoted(in) + " -o " + out,
      "compare " + quoted(in) + " " + quoted(in) + " -o " + out,
      "run quickstart --device cpu --in " + quoted(in) + " --out " + out + " --tap '*' --tap-out " + quoted(folder.file("t.safetensors")),
      "profile quickstart --device cpu --size 16x16 --rounds 1 --html " + quoted(folder.file("out.html")),
      "op silu --in " + quoted(folder.file("x.safetensors")) + " --out " + quoted(folder.file("y.safetensors")),
      "vae roundtrip --device cpu --model " + quoted(kModel) + " --in " + quoted(in) + " --out " + out,
      "vae roundtrip --device cpu --json --model " + quoted(kModel) + " --in " + quoted(in) + " --out " + quoted(folder.file("new.png")),
  };
  const std::vector<std::string> reporting = {"--help",
                                              "--version",
                                              "denoise --help",
                                              "vae encode --help",
                                              "devices",
                                              "devices --json",
                                              "op --list",
                                              "inspect quickstart --device cpu --json",
                                              "verify quickstart --device cpu --size 8x8",
                                              "bench quickstart --device cpu --size 8x8 --rounds 1"};
  const auto before = contents();
  for (const auto* commands : {&writing, &reporting}) {
    for (const std::string& command : *commands) {
      for (const std::string broken : {" >&-", " >/dev/full", " | true", " 1</dev/null"}) {
        // A pipe whose reader has gone: it is waited for, or the report might still find room in it.
        const bool pipe = broken == " | true";
        const Outcome outcome = shell(pipe ? "{ sleep 0.3; " + frieze + command + "; echo $? >&2; } | true" : frieze + command + broken);
        const bool failed = pipe ? outcome.err.find("\n2\n") != std::string::npos : outcome.status == 2;
        EXPECT_TRUE(failed) << command << broken << ": " << outcome.status << ' ' << outcome.err;
        EXPECT_NE(outcome.err.find("frieze: error: standard output: cannot write the report: "), std::string::npos)
            << command << broken << outcome.err;
        EXPECT_EQ(contents(), before) << command << broken;
      }
    }
  }
}

TEST_F(CommandOutputs, DoNotGetWhatIsMeantForAClosedStandardError) {
  const std::string in = picture("p.png");
  EXPECT_EQ(run_frieze({"noise", in, "-o", folder.file("a.png")}).status, 0);
  for (const std::string closed : {" 2>&-", " <&- 2>&-"}) {
    EXPECT_EQ(shell(quoted(frieze_program()) + " noise " + quoted(in) + " -o " + quoted(folder.file("b.png")) + closed).status, 0);
    EXPECT_EQ(slurp(folder.file("a.png")), slurp(folder.file("b.png")));
  }
}

TEST_F(CommandOutputs, AreAllThereOrNone) {
  const std::string in = picture("p.png");
  // The taps, which are larger, do not fit; the picture would.
  const Outcome outcome = shell("ulimit -f 16; " + quoted(frieze_program()) + " run quickstart --device cpu --in " + quoted(in) +
                                " --out " + quoted(folder.file("o.png")) + " --tap '*' --tap-out " + quoted(folder.file("t.safetensors")));
  EXPECT_EQ(outcome.status, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(folder.count(), 1);
}

TEST_F(CommandOutputs, LeaveNoTemporaryWhenTheCommandIsStopped) {
  // A program that has a temporary and waits: standard output is a pipe that nobody empties.
  const std::string in = picture("p.png");
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGKILL}) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    while (true) {  // full
      ::fcntl(pipe_ends[1], F_SETFL, O_NONBLOCK);
      if (::write(pipe_ends[1], std::string(4096, 'x').data(), 4096) < 0 && ::write(pipe_ends[1], "x", 1) < 0) break;
    }
    ::fcntl(pipe_ends[1], F_SETFL, 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) std::signal(s, SIG_DFL);
      ::dup2(pipe_ends[1], STDOUT_FILENO);
      const std::string program = frieze_program(), out = folder.file("out.png");
      ::execl(program.c_str(), "frieze", "noise", in.c_str(), "-o", out.c_str(), nullptr);
      ::_exit(127);
    }
    for (int tries = 0; folder.count() < 2 && tries < 600; ++tries) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(folder.count(), 2) << "its temporary";
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    ASSERT_EQ(::kill(child, signal), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status;
    ::close(pipe_ends[0]), ::close(pipe_ends[1]);
    if (signal != SIGKILL) {
      EXPECT_EQ(folder.count(), 1) << signal;
    }
  }
  EXPECT_FALSE(fs::exists(folder.file("out.png")));
}

}  // namespace
}  // namespace frieze::test
