#include <frieze/core/weights.h>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/core/safetensors.h>

#include "core/files.h"

namespace frieze::test {
namespace {

constexpr char kTwo[] = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[1,3],"data_offsets":[8,14]}})";

// --- Headers that must be refused: one case a class -----------------------------------------------------------------

struct Malformed {
  const char* name;
  std::string header;
  std::size_t data_bytes;
  std::string says;  // with the tensor and the field
};

void PrintTo(const Malformed& m, std::ostream* out) { *out << m.name; }

std::string one(const std::string& fields) { return R"({"w":{)" + fields + "}}"; }
std::string shaped(const std::string& shape, const std::string& offsets) {
  return one(R"("dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets);
}

std::vector<Malformed> malformed() {
  const std::string w = "tensor 'w': ";
  const std::string a0 = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  const std::string deep = std::string(100'000, '[');
  std::string many_axes = "[1";
  for (int i = 0; i < 8; ++i) many_axes += ",1";
  return {
      {"EmptyHeader", "", 0, "header: expected a JSON object"},
      {"NotAnObject", "[]", 0, "header: expected a JSON object"},
      {"NotJson", "{nope}", 0, "not valid JSON at byte "},
      {"CutOff", R"({"w":{"dtype":"F32",)", 0, "not valid JSON"},
      {"SecondObject", "{}{}", 0, "not valid JSON"},
      {"ByteOrderMark", "\xEF\xBB\xBF{}", 0, "header: expected a JSON object"},
      {"ZeroByteEndsTheText", std::string("{}\0{\"x\":", 8), 0, "holds a zero byte"},
      {"NotUtf8", "{\"w\xff\":{}}", 0, "not valid JSON"},
      {"OverlongUtf8", "{\"\xC0\xAF\":{}}", 0, "not valid JSON"},
      {"SurrogateInUtf8", "{\"\xED\xA0\x80\":{}}", 0, "not valid JSON"},
      {"NumberPastEveryRange", shaped("[1e999]", "[0,4]"), 4, "not valid JSON"},
      {"Comment", "{/*x*/}", 0, "not valid JSON"},
      {"TensorIsANumber", R"({"w":3})", 0, w + "expected an object with dtype, shape and data_offsets, got 3"},
      {"TensorIsAnArray", R"({"w":[]})", 0, w + "expected an object with dtype, shape and data_offsets, got an array"},
      {"DuplicateTensor", "{" + a0 + "," + a0 + "}", 4, "tensor 'a' is there twice"},
      {"DuplicateField", one(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])"), 4, w + "dtype: is there twice"},
      {"DuplicateByEscape", one(R"("dtype":"F32","\u0064type":"F32","shape":[1],"data_offsets":[0,4])"), 4, w + "dtype: is there twice"},
      {"UnknownField", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1])"), 4, w + "unknown field 'strides'"},
      {"MissingDType", one(R"("shape":[1],"data_offsets":[0,4])"), 4, w + "dtype: missing"},
      {"MissingShape", one(R"("dtype":"F32","data_offsets":[0,4])"), 4, w + "shape: missing"},
      {"MissingOffsets", one(R"("dtype":"F32","shape":[1])"), 4, w + "data_offsets: missing"},
      {"UnknownDType", one(R"("dtype":"F31","shape":[1],"data_offsets":[0,4])"), 4, w + "dtype: unknown type 'F31', expected one of BOOL"},
      {"DTypeInLowerCase", one(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])"), 4, w + "dtype: unknown type 'f32'"},
      {"DTypeNotAString", one(R"("dtype":4,"shape":[1],"data_offsets":[0,4])"), 4, w + "dtype: expected a string, got 4"},
      {"NegativeExtent", shaped("[-1]", "[0,4]"), 4, w + "shape: expected an array of at most 8 non-negative integers, got -1"},
      {"NegativeZero", shaped("[-0]", "[0,0]"), 0, w + "shape: expected"},
      {"FractionalExtent", shaped("[1.5]", "[0,4]"), 4, w + "shape: expected an array of at most 8 non-negative integers, got 1.5"},
      {"ExponentExtent", shaped("[1e0]", "[0,4]"), 4, w + "shape: expected"},
      {"ExtentPastInt64", shaped("[9223372036854775808]", "[0,4]"), 4, w + "shape: 9223372036854775808 is past 2^63 - 1"},
      {"ExtentPastUint64", shaped("[18446744073709551616]", "[0,4]"), 4, w + "shape: expected"},
      {"TextExtent", shaped(R"(["1"])", "[0,4]"), 4, w + "shape: expected an array of at most 8 non-negative integers, got '1'"},
      {"ShapeIsANumber", shaped("1", "[0,4]"), 4, w + "shape: expected"},
      {"ShapeIsNested", shaped("[[1]]", "[0,4]"), 4, w + "shape: expected an array of at most 8 non-negative integers, got an array"},
      {"DeepNesting", shaped(deep, "[0,4]"), 4, w + "shape: expected"},
      {"DeepObjects", "{\"w\":{\"shape\":{\"a\":{", 0, w + "shape: expected an array of at most 8 non-negative integers, got an object"},
      {"RankNine", shaped(many_axes + "]", "[0,4]"), 4, w + "shape: more than 8 numbers"},
      {"ProductWraps64", shaped("[4294967296,4294967296]", "[0,0]"), 0,
       w + "shape: element count: 4294967296 x 4294967296 exceeds 2^63 - 1"},
      {"ProductWrapsPastAZero", shaped("[0,4294967296,4294967296]", "[0,0]"), 0, w + "shape: element count"},
      {"BytesWrap64", shaped("[4611686018427387904]", "[0,0]"), 0, w + "data_offsets: range of 0 bytes, expected more than 2^64"},
      {"OneOffset", shaped("[1]", "[4]"), 4, w + "data_offsets: expected two non-negative integers [begin, end], got 1 numbers"},
      {"ThreeOffsets", shaped("[1]", "[0,4,8]"), 4, w + "data_offsets: more than 2 numbers"},
      {"NegativeOffset", shaped("[1]", "[-4,0]"), 4, w + "data_offsets: expected two non-negative integers [begin, end], got -4"},
      {"BeginPastEnd", shaped("[1]", "[4,0]"), 4, w + "data_offsets: begin 4 is past end 0"},
      {"EndPastData", shaped("[2]", "[0,8]"), 4, w + "data_offsets: end 8 is past the data of 4 bytes"},
      {"EndFarPastData", shaped("[1]", "[9223372036854775800,9223372036854775804]"), 4,
       w + "data_offsets: end 9223372036854775804 is past"},
      {"RangeTooShort", shaped("[2]", "[0,4]"), 4, w + "data_offsets: range of 4 bytes, expected 8 for F32 [2]"},
      {"RangeTooLong", shaped("[1]", "[0,8]"), 8, w + "data_offsets: range of 8 bytes, expected 4 for F32 [1]"},
      {"Gap", "{" + a0 + R"(,"w":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})", 7,
       w + "data_offsets: begins at 5, expected 4: the bytes"},
      {"GapInFront", R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, w + "data_offsets: begins at 1, expected 0"},
      {"Overlap", "{" + a0 + R"(,"w":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", 5,
       w + "data_offsets: begins at 3, expected 4: it overlaps another tensor"},
      {"SameRangeTwice", "{" + a0 + R"(,"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4,
       w + "data_offsets: begins at 0, expected 4"},
      {"EmptyInsideAnother", "{" + a0 + R"(,"w":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})", 4, w + "data_offsets: begins at 2"},
      {"TrailingData", "{" + a0 + "}", 9, "5 bytes behind the last tensor belong to no tensor"},
      {"DataWithoutTensors", "{}", 3, "3 bytes behind the last tensor"},
      {"MetadataNotAnObject", R"({"__metadata__":"x"})", 0, "__metadata__: expected an object of strings, got 'x'"},
      {"MetadataNull", R"({"__metadata__":null})", 0, "__metadata__: expected an object of strings, got null"},
      {"MetadataHoldsANumber", R"({"__metadata__":{"k":1}})", 0, "__metadata__: 'k': expected a string, got 1"},
      {"MetadataHoldsAnObject", R"({"__metadata__":{"k":{}}})", 0, "__metadata__: 'k': expected a string, got an object"},
      {"MetadataKeyTwice", R"({"__metadata__":{"k":"1","k":"2"}})", 0, "__metadata__: the key 'k' is there twice"},
      {"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})", 0, "'__metadata__' is there twice"},
      {"LongName", "{\"" + std::string(kMaxTensorName + 1, 'n') + "\":{}}", 0, "name of 1025 bytes, expected at most 1024"},
      {"ControlCharactersInName", "{\"w\\n\\u001b[31m\\u202e\":3}", 0, "tensor 'w\\x0a\\x1b[31m\\xe2\\x80\\xae': expected an object"},
  };
}

class MalformedHeader : public Files, public testing::WithParamInterface<Malformed> {};

TEST_P(MalformedHeader, IsRefusedByName) {
  const fs::path path = put("m.safetensors", file_of(GetParam().header, GetParam().data_bytes));
  const std::string message = refused<WeightsError>(path);
  EXPECT_EQ(message.find(path.string() + ": "), 0U) << message;
  EXPECT_SAYS(message, GetParam().says);
  EXPECT_LT(message.size(), 1000U);
}

INSTANTIATE_TEST_SUITE_P(Classes, MalformedHeader, testing::ValuesIn(malformed()),
                         [](const auto& info) { return std::string(info.param.name); });

// --- The frame around the header ------------------------------------------------------------------------------------

TEST_F(Files, ShorterThanTheLengthIsRefused) {
  EXPECT_SAYS(refused<WeightsError>(put("m", "")), "m: is empty: the download did not finish");
  EXPECT_SAYS(refused<WeightsError>(put("m", "1234567")), "expected a file of at least 8 bytes, got 7");
}

TEST_F(Files, HeaderPastTheFileIsRefused) {
  EXPECT_SAYS(refused<WeightsError>(put("m", with_length(3, "{}"))), "header length: 3 bytes, but only 2 follow in the file");
}

TEST_F(Files, HugeHeaderLengthIsRefusedBeforeItIsAllocated) {
  for (const std::uint64_t length : {kMaxHeaderBytes + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    EXPECT_SAYS(refused<WeightsError>(put("m", with_length(length, "{}"))), "expected at most 100000000");
  }
  EXPECT_SAYS(refused<WeightsError>(put("m", with_length(kMaxHeaderBytes, "{}"))), "but only 2 follow");
}

TEST_F(Files, EveryTruncationIsRefused) {
  const std::string whole = file_of(kTwo, 14);
  (void)Weights::open(put("m", whole));
  for (std::size_t size = 0; size < whole.size(); ++size) refused<WeightsError>(put("m", whole.substr(0, size)));
}

TEST_F(Files, MissingFileFolderAndDeviceAreIoErrors) {
  EXPECT_SAYS(refused<IoError>(folder_ / "absent.safetensors"), "absent.safetensors: cannot be opened: No such file or directory");
  EXPECT_SAYS(refused<IoError>("/dev/null"), "/dev/null: expected a regular file, got a device");
  fs::create_directory(folder_ / "d.index.json");
  EXPECT_SAYS(refused<WeightsError>(folder_ / "d.index.json"), "expected a file *.safetensors");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_SAYS(refused<IoError>(folder_ / "pipe"), "expected a regular file");  // and does not wait for a writer
}

TEST_F(Files, ControlCharactersInThePathAreEscaped) {
  EXPECT_SAYS(refused<IoError>(folder_ / "a\nb\x1b"), "a\\x0ab\\x1b: cannot be opened");
}

// --- What is legal --------------------------------------------------------------------------------------------------

TEST_F(Files, ReadsEveryLegalCorner) {
  const Weights weights = Weights::open(put("m", file_of(R"({"scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
    "none":{"data_offsets":[4,4],"shape":[3,0,2],"dtype":"F64"}, "axes":{"dtype":"U8","shape":[1,1,1,1,1,1,1,2],"data_offsets":[4,6]},
    "":{"dtype":"BOOL","shape":[1],"data_offsets":[6,7]},"__metadata__":{"format":"pt","n\u00e9":""}}   )",
                                                         7)));
  EXPECT_EQ(weights.tensors().size(), 4U);
  EXPECT_EQ(weights.at("scalar").shape, Shape{});
  EXPECT_EQ(weights.floats("scalar"), std::vector<float>{0});
  EXPECT_EQ(weights.at("none").shape, (Shape{3, 0, 2}));
  EXPECT_TRUE(weights.floats("none").empty());
  EXPECT_EQ(weights.at("axes").shape.rank(), 8);
  EXPECT_EQ(weights.at("axes").data.size(), 2U);
  EXPECT_EQ(weights.at("").dtype, "BOOL");
  EXPECT_EQ(weights.metadata().at("format"), "pt");
  EXPECT_EQ(weights.metadata().at("n\u00e9"), "");
}

TEST_F(Files, AnEmptyCheckpointIsLegal) {
  EXPECT_TRUE(Weights::open(put("m", file_of("{}"))).tensors().empty());
  EXPECT_TRUE(Weights::open(put("m", file_of(R"({"__metadata__":{}})"))).metadata().empty());
}

TEST_F(Files, KnowsEveryTypeOfTheList) {
  const std::pair<const char*, std::size_t> types[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                                                       {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                                                       {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  for (const auto& [type, bytes] : types) {
    const std::string end = std::to_string(3 * bytes);
    const Weights w = Weights::open(
        put("m", file_of(std::string(R"({"w":{"dtype":")") + type + R"(","shape":[3],"data_offsets":[0,)" + end + "]}}", 3 * bytes)));
    EXPECT_EQ(w.at("w").dtype, type);
    const bool real = std::string_view("F16 BF16 F32 F64").find(type) != std::string_view::npos;
    if (real) {
      EXPECT_EQ(w.floats("w").size(), 3U);
    } else {
      EXPECT_SAYS(message_of<WeightsError>([&] { (void)w.floats("w"); }),
                  "tensor 'w': dtype: got " + std::string(type) + ", expected F32, F16, BF16 or F64");
    }
    if (std::string_view("F16 BF16 F32 I32 I64").find(type) != std::string_view::npos) {
      EXPECT_EQ(w.tensor("w").bytes(), 3 * bytes);
    } else {
      EXPECT_SAYS(message_of<WeightsError>([&] { (void)w.tensor("w"); }), "expected F32, F16, BF16, I32 or I64");
    }
  }
}

TEST_F(Files, ConvertsValues) {
  const double wide[] = {1.0 / 3, -0.0, 1e300, std::numeric_limits<double>::quiet_NaN()};
  const std::uint16_t half[] = {0x3C00, 0xC000, 0x7C00, 0x0001};
  const std::uint16_t brain[] = {0x3F80, 0xC000, 0x7F80, 0x0001};
  std::string file =
      file_of(R"({"d":{"dtype":"F64","shape":[4],"data_offsets":[0,32]},"h":{"dtype":"F16","shape":[2,2],"data_offsets":[32,40]},
                                "b":{"dtype":"BF16","shape":[4],"data_offsets":[40,48]}} )");
  file.append(reinterpret_cast<const char*>(wide), 32).append(reinterpret_cast<const char*>(half), 8);
  file.append(reinterpret_cast<const char*>(brain), 8);
  const Weights w = Weights::open(put("m", file));
  const std::vector<float> d = w.floats("d");
  EXPECT_EQ(d[0], static_cast<float>(1.0 / 3));
  EXPECT_TRUE(std::signbit(d[1]));
  EXPECT_EQ(d[2], INFINITY);
  EXPECT_TRUE(std::isnan(d[3]));
  EXPECT_EQ(w.floats("h"), (std::vector<float>{1, -2, INFINITY, 0x1p-24F}));
  EXPECT_EQ(w.floats("b"), (std::vector<float>{1, -2, INFINITY, 0x1p-133F}));
  EXPECT_EQ(w.tensor("h").spec(), (TensorSpec{{2, 2}, DType::f16}));
  EXPECT_EQ(std::memcmp(w.tensor("h").data(), half, 8), 0);
  EXPECT_SAYS(message_of<WeightsError>([&] { (void)w.at("x\t"); }), "m: no tensor 'x\\x09'");
}

TEST_F(Files, ValuesSpanSeveralChunks) {
  std::vector<float> values(200'003);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 2048);
  std::map<std::string, HostTensor> tensors;
  tensors.emplace("w", HostTensor({{200'003}, DType::f16}, values));
  save_safetensors(folder_ / "m", tensors);
  EXPECT_EQ(Weights::open(folder_ / "m").floats("w"), values);
}

// --- Files that change under us -------------------------------------------------------------------------------------

TEST_F(Files, AFileInMemoryIsReadAsOneOnTheDisk) {
  const std::string bytes = file_of(kTwo, 14);
  std::string filled = bytes;
  const float values[] = {1.5f, -2.0f};
  std::memcpy(filled.data() + filled.size() - 14, values, 8);
  const Weights weights = Weights::view(std::as_bytes(std::span(filled)), "memory");
  EXPECT_EQ(weights.floats("a"), (std::vector<float>{1.5f, -2.0f}));
  EXPECT_EQ(weights.tensor("b").spec().shape, (Shape{1, 3}));
  EXPECT_EQ(weights.source(), "memory");
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto part = std::as_bytes(std::span(bytes)).first(cut);
    EXPECT_SAYS(message_of<WeightsError>([&] { (void)Weights::view(part, "memory"); }), "memory: ");
  }
}

TEST_F(Files, AFileThatShrinksIsAnErrorNotACrash) {
  const fs::path path = put("m", file_of(shaped("[4096]", "[0,16384]"), 16384));
  const Weights w = Weights::open(path);
  fs::resize_file(path, 100);
  EXPECT_SAYS(message_of<IoError>([&] { (void)w.floats("w"); }), "m: changed size while in use, from ");
  EXPECT_SAYS(message_of<IoError>([&] { (void)w.tensor("w"); }), "to 100 bytes");
}

TEST_F(Files, AReplacedOrRemovedFileStaysReadable) {
  const fs::path path = put("m", file_of(shaped("[1]", "[0,4]"), 4));
  const Weights w = Weights::open(path);
  const Weights copy = w;
  fs::remove(path);
  EXPECT_EQ(copy.floats("w"), std::vector<float>{0});
}

// --- Sharded checkpoints and folders --------------------------------------------------------------------------------

class Shards : public Files {
 protected:
  void SetUp() override {
    put("a.safetensors", file_of(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"format":"pt","k":"a"}})", 1));
    put("b.safetensors", file_of(R"({"y":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"k":"b","l":"b"}})", 4));
  }
  fs::path index(const std::string& map, const std::string& more = "") {
    return put("m.safetensors.index.json",
               R"({"metadata":{"total_size":5,"deep":[[{"a":null}],true,1.5]},)" + more + R"("weight_map":)" + map + "}");
  }
  static constexpr char kGood[] = R"({"x":"a.safetensors","y":"b.safetensors"})";
};

TEST_F(Shards, AreReadAsOne) {
  const Weights w = Weights::open(index(kGood));
  EXPECT_EQ(w.tensors().size(), 2U);
  EXPECT_EQ(w.floats("y"), std::vector<float>{0});
  EXPECT_EQ(w.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"k", "a"}, {"l", "b"}}));
}

TEST_F(Shards, APlainNameThatIsALinkIsFollowed) {
  fs::create_directories(folder_ / "blobs");
  fs::rename(folder_ / "a.safetensors", folder_ / "blobs" / "0123");
  fs::create_symlink("blobs/0123", folder_ / "a.safetensors");
  fs::rename(index(kGood), folder_ / "blobs" / "4567");
  fs::create_symlink("blobs/4567", folder_ / "m.safetensors.index.json");
  EXPECT_EQ(Weights::open(folder_ / "m.safetensors.index.json").tensors().size(), 2U);
}

TEST_F(Shards, OnlyPlainNamesAreAllowed) {
  for (const char* name :
       {"../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ".", "", "a\\\\b", "./a.safetensors", "a\\u0000b"}) {
    const std::string message = refused<WeightsError>(index(std::string(R"({"x":")") + name + R"("})"));
    EXPECT_SAYS(message, "m.safetensors.index.json: weight_map: tensor 'x': expected the plain name of a file in the same folder, got '");
  }
}

TEST_F(Shards, IndexAndFilesMustAgree) {
  EXPECT_SAYS(refused<WeightsError>(index(R"({"x":"b.safetensors"})")), "weight_map: tensor 'x' is not in the file 'b.safetensors'");
  EXPECT_SAYS(refused<WeightsError>(index(R"({"x":"a.safetensors","z":"a.safetensors"})")),
              "tensor 'z' is not in the file 'a.safetensors'");
  put("b.safetensors",
      file_of(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2));
  EXPECT_SAYS(refused<WeightsError>(index(kGood)), "tensor 'x' is listed in 'a.safetensors', but 'b.safetensors' holds it too");
  EXPECT_SAYS(refused<WeightsError>(index(R"({"y":"b.safetensors"})")), "tensor 'x' of the file 'b.safetensors' is not listed");
  EXPECT_SAYS(refused<IoError>(index(R"({"x":"c.safetensors"})")), "the file 'c.safetensors' that it lists is not there");
  put("a.safetensors", "short");
  EXPECT_SAYS(refused<WeightsError>(index(kGood)), "a.safetensors: header length");
}

TEST_F(Shards, MalformedIndexesAreRefused) {
  EXPECT_SAYS(refused<WeightsError>(put("m.safetensors.index.json", "[]")), "index: expected a JSON object");
  EXPECT_SAYS(refused<WeightsError>(put("m.safetensors.index.json", "")), "is empty: the download did not finish");
  EXPECT_SAYS(refused<WeightsError>(put("m.safetensors.index.json", "{}")), "index: 'weight_map' is missing");
  EXPECT_SAYS(refused<WeightsError>(put("m.safetensors.index.json", R"({"a":{"weight_map":{"x":"a.safetensors"}}})")),
              "'weight_map' is missing");
  EXPECT_SAYS(refused<WeightsError>(index("{}")), "weight_map: expected at least one tensor");
  EXPECT_SAYS(refused<WeightsError>(index("[]")), "weight_map: expected an object of file names, got an array");
  EXPECT_SAYS(refused<WeightsError>(index("\"a.safetensors\"")), "weight_map: expected an object of file names, got 'a.safetensors'");
  EXPECT_SAYS(refused<WeightsError>(index(R"({"x":1})")), "weight_map: tensor 'x': expected a file name, got 1");
  EXPECT_SAYS(refused<WeightsError>(index(R"({"x":{}})")), "weight_map: tensor 'x': expected a file name, got an object");
  EXPECT_SAYS(refused<WeightsError>(index(R"({"x":["a.safetensors"]})")), "weight_map: tensor 'x': expected a file name, got an array");
  EXPECT_SAYS(refused<WeightsError>(index(R"({"x":"a.safetensors","x":"a.safetensors"})")), "weight_map: tensor 'x' is there twice");
  EXPECT_SAYS(refused<WeightsError>(index(kGood, R"("weight_map":{},)")), "'weight_map' is there twice");
  EXPECT_SAYS(refused<WeightsError>(index(kGood, R"("other":)" + std::string(100, '[') + std::string(100, ']') + ",")),
              "index: nested deeper than 32 levels");
}

TEST_F(Shards, AFolderMustHoldOneCheckpoint) {
  EXPECT_SAYS(refused<WeightsError>(folder_),
              "expected one checkpoint in this folder, got 2 (a.safetensors, b.safetensors): name one of them");
  index(kGood);
  put("config.json", "{}");
  EXPECT_EQ(Weights::open(folder_).tensors().size(), 2U);  // the index and its files are one
  put("c.safetensors", file_of("{}"));
  EXPECT_SAYS(refused<WeightsError>(folder_), "got 2 (c.safetensors, m.safetensors.index.json)");
  fs::remove(folder_ / "m.safetensors.index.json");
  fs::remove(folder_ / "a.safetensors");
  fs::remove(folder_ / "b.safetensors");
  EXPECT_TRUE(Weights::open(folder_).tensors().empty());
  fs::remove(folder_ / "c.safetensors");
  EXPECT_SAYS(refused<WeightsError>(folder_), "expected a file *.safetensors or *.safetensors.index.json in this folder, got none");
}

}  // namespace
}  // namespace frieze::test
