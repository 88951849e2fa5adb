#pragma once
/// JPEG files of every kind, for what the project's own writer does not make; and EXIF and ICC to put into pictures.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <jpeglib.h>
#include <lcms2.h>

#include "tools/image/image.h"
#include "tools/png_maker.h"

namespace frieze::test {

struct JpegSettings {
  int quality = 95;
  int horizontal = 1, vertical = 1;  ///< samples of the first component for one of the others
  bool progressive = false, arithmetic = false, adobe = true;
  bool separate = false;          ///< a scan for each component
  unsigned restart_interval = 0;  ///< blocks
  J_COLOR_SPACE stored = JCS_UNKNOWN;
  std::string exif{}, icc{};
};

/// `samples`: width * height * components of 8 bits; 1 grey, 3 RGB, 4 CMYK.
inline std::string make_jpeg(int width, int height, int components, const std::string& samples, const JpegSettings& settings = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &data, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = components;
  info.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  if (settings.stored != JCS_UNKNOWN) jpeg_set_colorspace(&info, settings.stored);
  jpeg_set_quality(&info, settings.quality, TRUE);
  info.comp_info[0].h_samp_factor = settings.horizontal;
  info.comp_info[0].v_samp_factor = settings.vertical;
  info.arith_code = settings.arithmetic ? TRUE : FALSE;
  info.restart_interval = settings.restart_interval;
  if (!settings.adobe) info.write_Adobe_marker = FALSE;
  if (settings.progressive) jpeg_simple_progression(&info);
  std::vector<jpeg_scan_info> scans;
  for (int c = 0; settings.separate && c < components; ++c) scans.push_back({1, {c}, 0, 63, 0, 0});
  if (settings.separate) info.scan_info = scans.data(), info.num_scans = components;
  jpeg_start_compress(&info, TRUE);
  const auto bytes = [](const std::string& text) { return reinterpret_cast<const JOCTET*>(text.data()); };
  const std::string app1 = std::string("Exif\0\0", 6) + settings.exif;
  if (!settings.exif.empty()) jpeg_write_marker(&info, JPEG_APP0 + 1, bytes(app1), static_cast<unsigned>(app1.size()));
  if (!settings.icc.empty()) jpeg_write_icc_profile(&info, bytes(settings.icc), static_cast<unsigned>(settings.icc.size()));
  std::string row;
  while (info.next_scanline < info.image_height) {
    row = samples.substr(info.next_scanline * static_cast<std::size_t>(width * components), static_cast<std::size_t>(width * components));
    auto* to = reinterpret_cast<JSAMPROW>(row.data());
    jpeg_write_scanlines(&info, &to, 1);
  }
  jpeg_finish_compress(&info);
  std::string file(reinterpret_cast<const char*>(data), size);
  jpeg_destroy_compress(&info);
  std::free(data);
  return file;
}

/// The values of a picture as 8-bit samples.
inline std::string samples_of(const tools::Image& image) {
  std::string samples;
  for (const float v : image.pixels) samples += static_cast<char>(static_cast<unsigned char>(v * 255 + 0.5f));
  return samples;
}

/// A TIFF structure with one directory that tells the orientation, behind `before` other entries.
inline std::string make_exif(int orientation, bool little = true, int before = 0) {
  const auto number = [&](std::uint32_t v, int bytes) {
    std::string text = big_endian(v, bytes);
    return little ? std::string(text.rbegin(), text.rend()) : text;
  };
  std::string exif = (little ? "II" : "MM") + number(42, 2) + number(8, 4) + number(static_cast<std::uint32_t>(before + 1), 2);
  for (int i = 0; i < before; ++i) exif += number(0x0100, 2) + number(4, 2) + number(1, 4) + number(7, 4);
  return exif + number(0x0112, 2) + number(3, 2) + number(1, 4) + number(static_cast<std::uint32_t>(orientation), 2) + number(0, 2) +
         number(0, 4);
}

/// An ICC profile of the sRGB curve: Display P3, sRGB with red and green exchanged, or grey of this gamma.
enum class IccKind { display_p3, red_and_green_exchanged, grey };
inline std::string make_icc(IccKind kind, double gamma = 1.8) {
  const double parameters[5] = {2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045};
  cmsToneCurve* curve = kind == IccKind::grey ? cmsBuildGamma(nullptr, gamma) : cmsBuildParametricToneCurve(nullptr, 4, parameters);
  cmsToneCurve* curves[3] = {curve, curve, curve};
  const cmsCIExyY white{0.3127, 0.3290, 1};
  const cmsCIExyYTRIPLE p3{{0.680, 0.320, 1}, {0.265, 0.690, 1}, {0.150, 0.060, 1}};
  const cmsCIExyYTRIPLE exchanged{{0.30, 0.60, 1}, {0.64, 0.33, 1}, {0.15, 0.06, 1}};
  const cmsHPROFILE profile = kind == IccKind::grey ? cmsCreateGrayProfile(&white, curve)
                                                    : cmsCreateRGBProfile(&white, kind == IccKind::display_p3 ? &p3 : &exchanged, curves);
  cmsUInt32Number size = 0;
  cmsSaveProfileToMem(profile, nullptr, &size);
  std::string icc(size, '\0');
  cmsSaveProfileToMem(profile, icc.data(), &size);
  cmsCloseProfile(profile);
  cmsFreeToneCurve(curve);
  return icc;
}

inline std::string text_of(const std::vector<std::byte>& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline std::vector<std::byte> bytes_of(const std::string& text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

/// The chunk that holds a profile in a PNG.
inline std::string iccp_chunk(const std::string& icc) { return png_chunk("iCCP", std::string("profile\0\0", 9) + zlib_stored(icc)); }

}  // namespace frieze::test
