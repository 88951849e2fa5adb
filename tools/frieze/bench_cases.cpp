// What `frieze bench-op all` times: memory-bound layers on tensors that exceed a GPU's cache. Sizes with whole packs of 16 bytes and odd
// ones.
#include "tools/frieze/bench_layer.h"

namespace frieze::tools {

const std::vector<StandardCase>& standard_cases() {
  static const std::vector<StandardCase> cases = {
      // elementwise
      {"relu", {"x=1x256x384x512"}},
      {"silu", {"x=1x256x384x512"}},
      {"gelu", {"x=1x256x384x512"}},
      {"sigmoid", {"x=1x255x383x513"}},
      {"mish", {"x=1x256x384x512"}},
      {"elu", {"x=1x256x384x512"}},
      {"prelu", {"x=1x256x384x512", "weight=256"}},
      {"exp", {"x=1x256x384x512"}},
      {"cos", {"x=1x256x384x512"}},
      {"clamp", {"x=1x256x384x512"}, {"min=-1", "max=1"}},
      {"add", {"x=1x256x384x512", "x2=1x256x384x512"}},
      {"add", {"x=8x256x128x128", "x2=8x256x1x1"}},
      {"add", {"x=8x256x128x128", "x2=1x1x128x128"}},
      {"mul", {"x=1x256x384x512", "x2=1x256x384x512"}},
      {"div", {"x=65536x768", "x2=768"}},
      {"maximum", {"x=65536x768", "x2=65536x1"}},
      {"where", {"x=1x256x384x512", "x2=1x256x384x512", "x3=1x256x384x512"}},
      {"scale", {"x=1x256x384x512"}, {"factor=0.125"}},
      {"sum", {"x=65536x768"}},
      {"sum", {"x=8x256x128x192"}, {"axes=1"}},
      {"mean", {"x=8x256x128x192"}, {"axes=2,3"}},
      {"amax", {"x=65536x768"}, {"axes=-1"}},
      {"glu", {"x=65536x1536"}},
      {"swiglu", {"x=1x512x384x256"}, {"axis=1"}},
      {"gated_silu", {"x=1x512x384x256"}},
      {"embedding", {"x=65536:i64", "weight=32768x768"}, {}, {}, 32768},
      {"cast", {"x=1x256x384x512"}, {"dtype=f32"}},
      {"concat", {"x=1x128x384x512", "x2=1x128x384x512"}},
      {"slice", {"x=1x288x384x512"}, {"begin=16", "end=272"}},
      {"permute", {"x=1x256x384x512"}, {"axes=0,2,3,1"}},
      // attention
      {"softmax", {"x=65536x768"}},
      {"softmax", {"x=16384x4096"}},
      {"softmax", {"x=8x256x128x192"}, {"axis=1"}},
      {"softmax", {"x=16x21x384x512"}, {"axis=1"}},
      // norm
      {"batch_norm2d", {"x=1x256x384x512", "weight=256", "bias=256", "running_mean=256", "running_var=256"}},
      {"layer_norm", {"x=65536x768", "weight=768", "bias=768"}},
      {"layer_norm", {"x=16384x4096", "weight=4096", "bias=4096"}},
      {"layer_norm", {"x=262144x192", "weight=192", "bias=192"}},
      {"layer_norm2d", {"x=8x384x128x128", "weight=384", "bias=384"}},
      {"group_norm", {"x=1x256x384x512", "weight=256", "bias=256"}, {"groups=32"}, {}, 2, 1.5},
      {"group_norm", {"x=1x256x256x256", "weight=256", "bias=256"}, {"groups=32"}, {"silu"}},
      {"group_norm", {"x=1x256x384x512", "weight=256", "bias=256"}, {"groups=32"}, {"silu"}, 2, 1.5},
      {"group_norm", {"x=16x320x96x96", "weight=320", "bias=320"}, {"groups=32"}, {"silu"}},
      {"instance_norm2d", {"x=16x64x256x256"}},
      {"rms_norm", {"x=16384x4096", "weight=4096"}},
      // pooling
      {"max_pool2d", {"x=16x64x256x256"}, {"kernel=2"}},
      {"max_pool2d", {"x=16x64x256x256"}, {"kernel=3", "stride=2", "padding=1"}},
      {"avg_pool2d", {"x=16x64x256x256"}, {"kernel=2"}},
      {"avg_pool2d", {"x=8x64x256x256"}, {"kernel=3", "stride=1", "padding=1"}},
      {"adaptive_avg_pool2d", {"x=16x512x64x64"}, {"output=7"}},
      {"global_avg_pool", {"x=16x512x64x64"}},
      // spatial
      {"pad", {"x=1x256x384x512"}, {"padding=1", "mode=reflect"}},
      {"interpolate", {"x=1x256x256x256"}, {"scale=2"}},
      {"interpolate", {"x=1x256x256x256"}, {"scale=2", "mode=bilinear"}},
      {"interpolate", {"x=1x256x384x512"}, {"size=299x401", "mode=bicubic"}},
      {"pixel_shuffle", {"x=1x1024x192x256"}, {"factor=2"}},
      {"pixel_unshuffle", {"x=1x256x384x512"}, {"factor=2"}},
      {"upsample", {"x=1x256x256x256"}, {"factor=2"}},
      {"averaging_shortcut", {"x=1x256x384x512"}, {"channels=512", "factor=2"}},
      {"duplicating_shortcut", {"x=1x1024x128x128"}, {"channels=512", "factor=2"}},
      {"pad", {"x=1x255x383x513"}, {"padding=0,1,0,1"}},
      {"interpolate", {"x=1x256x384x512"}, {"scale=1.3"}},
      {"interpolate", {"x=1x256x256x256"}, {"scale=2", "mode=bicubic"}},
      {"interpolate", {"x=1x256x512x512"}, {"scale=0.5", "mode=bilinear", "antialias=true"}},
  };
  return cases;
}

}  // namespace frieze::tools
