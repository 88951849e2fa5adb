#include <frieze/core/error.h>

#include <gtest/gtest.h>

namespace frieze {
namespace {

TEST(Check, StreamsItsPartsOnlyOnFailure) {
  EXPECT_NO_THROW(check<ShapeError>(true, "never seen"));
  try {
    check<ShapeError>(false, "expected ", 3, " extents, got ", 4.5, ' ', std::string("x"));
    FAIL() << "nothing was thrown";
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "expected 3 extents, got 4.5 x");
  }
  EXPECT_THROW(check<IoError>(false, "file"), Error);  // one base for all
}

TEST(CudaErrorTest, CarriesTheCodeOfItsCall) {
  EXPECT_EQ(CudaError("no call").code(), 0);
  EXPECT_EQ(CudaError("cudaStreamEndCapture", 901).code(), 901);
  EXPECT_TRUE(CudaError("cudaMalloc", 2).out_of_memory());
  EXPECT_FALSE(CudaError("out of memory, says the text").out_of_memory());
  EXPECT_FALSE(CudaError("cudaStreamEndCapture", 901).out_of_memory());
  try {
    check<CudaError>(false, "a check has no code");
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(dynamic_cast<const CudaError&>(e).code(), 0);
  }
}

TEST(Printable, KeepsTextAndEscapesTheRest) {
  EXPECT_EQ(printable("plain, \u00e9\u4e2d\U0001F600"), "plain, \u00e9\u4e2d\U0001F600");
  EXPECT_EQ(printable("a\nb\r\t\x7f"), "a\\x0ab\\x0d\\x09\\x7f");
  EXPECT_EQ(printable("\u0085\u202E\u2066\u2028"), "\\xc2\\x85\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xe2\\x80\\xa8");
  EXPECT_EQ(printable("\xC0\xAF\xED\xA0\x80\xF4\x90\x80\x80\xE2\x82"), "\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xe2\\x82");
  EXPECT_EQ(printable("abcdef", 4), "abcd...");
  EXPECT_EQ(printable("abcd", 4), "abcd");
  EXPECT_EQ(printable("\u00e9\u00e9", 3), "\u00e9...");  // never half a character
}

}  // namespace
}  // namespace frieze
