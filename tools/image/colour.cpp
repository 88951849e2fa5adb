#include "tools/image/colour.h"

#include <lcms2.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <new>

#include <frieze/core/error.h>

#include "tools/image/formats.h"

namespace frieze::tools {
namespace {

struct CloseProfile {
  void operator()(void* profile) const { cmsCloseProfile(profile); }
};
struct CloseTransform {
  void operator()(void* transform) const { cmsDeleteTransform(transform); }
};
struct CloseContext {
  void operator()(_cmsContext_struct* context) const { cmsDeleteContext(context); }
};
struct CloseCurve {
  void operator()(cmsToneCurve* curve) const { cmsFreeToneCurve(curve); }
};
using Profile = std::unique_ptr<void, CloseProfile>;
using Transform = std::unique_ptr<void, CloseTransform>;
using Context = std::unique_ptr<_cmsContext_struct, CloseContext>;
using Curve = std::unique_ptr<cmsToneCurve, CloseCurve>;

// A context of its own says nothing on stderr, and is nobody else's.
Context make_context() {
  Context context(cmsCreateContext(nullptr, nullptr));
  if (!context) throw std::bad_alloc();
  return context;
}

const std::string kSrgbChunk(1, '\1');  // relative colorimetric

bool is_srgb(const ColourTags& tags) {
  if (!tags.cicp.empty()) return tags.cicp == std::string("\1\15\0\1", 4);
  return tags.icc.empty() && (!tags.srgb.empty() || (tags.gamma.empty() && tags.chromaticities.empty()));
}

double number(const std::string& chunk, std::size_t index) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v = v << 8 | static_cast<unsigned char>(chunk[4 * index + i]);
  return v / 100000.0;
}

struct Primaries {
  cmsCIExyY white{0.3127, 0.3290, 1};
  cmsCIExyYTRIPLE colours{{0.64, 0.33, 1}, {0.30, 0.60, 1}, {0.15, 0.06, 1}};
};

Curve srgb_curve(cmsContext context) {
  const std::array<double, 5> parameters{2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045};  // IEC 61966-2-1
  return Curve(cmsBuildParametricToneCurve(context, 4, parameters.data()));
}

// Grey takes the curve alone.
Profile make_profile(cmsContext context, const Primaries& primaries, const Curve& curve, int channels) {
  if (!curve) return nullptr;
  if (channels == 1) return Profile(cmsCreateGrayProfileTHR(context, cmsD50_xyY(), curve.get()));
  cmsToneCurve* curves[3] = {curve.get(), curve.get(), curve.get()};
  return Profile(cmsCreateRGBProfileTHR(context, &primaries.white, &primaries.colours, curves));
}

// ITU-T H.273, tables 2 and 3: what stands for pictures on screens of today, without those of a high dynamic range.
Profile profile_of_cicp(cmsContext context, const std::string& cicp, int channels) {
  Primaries primaries;
  Curve curve;
  switch (cicp[0]) {
    case 1: break;
    case 9: primaries.colours = {{0.708, 0.292, 1}, {0.170, 0.797, 1}, {0.131, 0.046, 1}}; break;
    case 12: primaries.colours = {{0.680, 0.320, 1}, {0.265, 0.690, 1}, {0.150, 0.060, 1}}; break;
    default: return nullptr;
  }
  switch (cicp[1]) {
    case 1:
    case 6:
    case 14:
    case 15: {
      const std::array<double, 5> parameters{1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081};
      curve.reset(cmsBuildParametricToneCurve(context, 4, parameters.data()));
      break;
    }
    case 4: curve.reset(cmsBuildGamma(context, 2.2)); break;
    case 8: curve.reset(cmsBuildGamma(context, 1)); break;
    case 13: curve = srgb_curve(context); break;
    default: return nullptr;
  }
  if (cicp[2] != 0 || cicp[3] != 1) return nullptr;  // not RGB, or not all of its range
  return make_profile(context, primaries, curve, channels);
}

Profile profile_of_gamma(cmsContext context, const ColourTags& tags, int channels) {
  Primaries primaries;
  if (!tags.chromaticities.empty()) {
    const auto at = [&](std::size_t i) { return cmsCIExyY{number(tags.chromaticities, 2 * i), number(tags.chromaticities, 2 * i + 1), 1}; };
    primaries = {at(0), {at(1), at(2), at(3)}};
    for (const cmsCIExyY& p : {primaries.white, primaries.colours.Red, primaries.colours.Green, primaries.colours.Blue}) {
      if (!(p.y > 0 && p.x + p.y <= 1)) return nullptr;
    }
  }
  Curve curve;
  if (tags.gamma.empty()) {
    curve = srgb_curve(context);
  } else if (const double gamma = number(tags.gamma, 0); gamma >= 0.01 && gamma <= 100) {
    curve.reset(cmsBuildGamma(context, 1 / gamma));
  }
  return make_profile(context, primaries, curve, channels);
}

// Null if the tags make no sense; callers have asked is_srgb.
Profile profile_of(cmsContext context, const ColourTags& tags, int channels) {
  if (!tags.cicp.empty()) return profile_of_cicp(context, tags.cicp, channels);
  if (!tags.icc.empty()) return Profile(cmsOpenProfileFromMemTHR(context, tags.icc.data(), static_cast<cmsUInt32Number>(tags.icc.size())));
  return profile_of_gamma(context, tags, channels);
}

Transform make_transform(cmsContext context, const Profile& from, cmsUInt32Number from_type, const Profile& to, cmsUInt32Number to_type) {
  if (!from || !to) return nullptr;
  return Transform(cmsCreateTransformTHR(context, from.get(), from_type, to.get(), to_type, INTENT_RELATIVE_COLORIMETRIC,
                                         cmsFLAGS_BLACKPOINTCOMPENSATION | cmsFLAGS_COPY_ALPHA));
}

}  // namespace

std::string icc_fault(const std::vector<std::byte>& icc, int channels) {
  constexpr std::size_t kHeader = 128;
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < 4 && i < icc.size(); ++i) size = size << 8 | std::to_integer<std::uint32_t>(icc[i]);
  if (icc.size() < kHeader || size > icc.size()) return "is cut off";
  const Context context = make_context();
  const Profile profile(cmsOpenProfileFromMemTHR(context.get(), icc.data(), static_cast<cmsUInt32Number>(icc.size())));
  if (!profile) return "is damaged";
  const cmsColorSpaceSignature expected = channels == 1 ? cmsSigGrayData : channels == 3 ? cmsSigRgbData : cmsSigCmykData;
  const cmsProfileClassSignature use = cmsGetDeviceClass(profile.get());
  const bool usable = use == cmsSigInputClass || use == cmsSigDisplayClass || use == cmsSigOutputClass || use == cmsSigColorSpaceClass;
  return cmsGetColorSpace(profile.get()) != expected ? "is made for other colours" : usable ? "" : "is of a kind that pictures cannot have";
}

bool same_colours(const ColourTags& a, const ColourTags& b) { return a == b || (is_srgb(a) && is_srgb(b)); }

Image to_srgb(Image image) {
  if (is_srgb(image.tags)) return image;
  const int colours = image.channels - (image.has_alpha() ? 1 : 0);
  const Context context = make_context();
  const Profile from = profile_of(context.get(), image.tags, colours);
  const Profile to =
      colours == 1 ? make_profile(context.get(), {}, srgb_curve(context.get()), 1) : Profile(cmsCreate_sRGBProfileTHR(context.get()));
  const cmsUInt32Number type = FLOAT_SH(1) | COLORSPACE_SH(static_cast<unsigned>(colours == 1 ? PT_GRAY : PT_RGB)) |
                               EXTRA_SH(image.has_alpha() ? 1U : 0U) | CHANNELS_SH(static_cast<unsigned>(colours)) | BYTES_SH(4U);
  const Transform transform = make_transform(context.get(), from, type, to, type);
  image.tags = {};
  if (!transform) {
    image.notes.emplace_back("its colour profile cannot be used: its values are taken for sRGB");
    return image;
  }
  image.tags.srgb = kSrgbChunk;
  image.notes.emplace_back("its colours are converted to sRGB");
  const std::size_t row = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
  std::vector<float> converted(row);
  for (std::size_t y = 0; y < static_cast<std::size_t>(image.height); ++y) {
    float* values = image.pixels.data() + y * row;
    cmsDoTransform(transform.get(), values, converted.data(), static_cast<cmsUInt32Number>(image.width));
    for (std::size_t i = 0; i < row; ++i) values[i] = std::isfinite(converted[i]) ? std::clamp(converted[i], 0.0f, 1.0f) : 0.0f;
  }
  return image;
}

Image cmyk_to_srgb(Image image, std::span<const unsigned char> samples, bool inverted) {
  const std::size_t pixels = image.pixel_count();
  image.channels = 3;
  image.pixels.resize(3 * pixels);
  const std::string fault = image.tags.icc.empty() ? "" : icc_fault(image.tags.icc, 4);
  if (!fault.empty()) image.notes.push_back("its colour profile " + fault + " and is ignored");
  const Context context = make_context();
  Transform transform;
  if (!image.tags.icc.empty() && fault.empty()) {
    const cmsUInt32Number type = inverted ? TYPE_CMYK_8_REV : TYPE_CMYK_8;
    transform = make_transform(context.get(), profile_of(context.get(), image.tags, 4), type,
                               Profile(cmsCreate_sRGBProfileTHR(context.get())), TYPE_RGB_16);
  }
  image.tags = {};
  image.tags.srgb = kSrgbChunk;
  image.notes.push_back(transform ? "its CMYK colours are converted to sRGB by its profile"
                                  : "its CMYK colours are converted to sRGB by a rule of thumb");
  const std::size_t width = static_cast<std::size_t>(image.width);
  std::vector<std::uint16_t> row(3 * width);
  for (std::size_t y = 0; transform && y < static_cast<std::size_t>(image.height); ++y) {
    cmsDoTransform(transform.get(), samples.data() + 4 * y * width, row.data(), static_cast<cmsUInt32Number>(width));
    const std::vector<float> values = to_values(std::span<const std::uint16_t>(row));
    std::copy(values.begin(), values.end(), image.pixels.begin() + static_cast<std::ptrdiff_t>(3 * y * width));
  }
  if (transform) return image;
  const auto paper = [&](std::size_t i) { return static_cast<float>(inverted ? samples[i] : 255 - samples[i]) / 255.0f; };  // without ink
  for (std::size_t p = 0; p < pixels; ++p) {
    for (std::size_t c = 0; c < 3; ++c) image.pixels[3 * p + c] = paper(4 * p + c) * paper(4 * p + 3);
  }
  return image;
}

std::vector<std::byte> icc_of(const ColourTags& tags, int channels) {
  if (is_srgb(tags)) return {};
  const Context context = make_context();
  if (tags.cicp.empty() && !tags.icc.empty()) return tags.icc;
  const Profile profile = profile_of(context.get(), tags, channels);
  if (!profile) return tags.icc;
  cmsUInt32Number size = 0;
  if (!cmsSaveProfileToMem(profile.get(), nullptr, &size)) return {};
  std::vector<std::byte> icc(size);
  if (!cmsSaveProfileToMem(profile.get(), icc.data(), &size)) return {};
  return icc;
}

}  // namespace frieze::tools
