# Flags and include paths that every target shares.
function(frieze_target target)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${FRIEZE_INCLUDE_DIR}>)  # installed: FriezeInstall
  target_compile_features(${target} PUBLIC cxx_std_20)
  # Shared libraries export what installed headers declare, see core/api.h.
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  set(warnings -Wall -Wextra -Wnon-virtual-dtor)
  # A module overrides one of Module's forward()s; g++ before 13 would warn of the others.
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND warnings -Woverloaded-virtual)
  elseif(CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
    list(APPEND warnings -Woverloaded-virtual=1)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND warnings -Wno-restrict)  # wrong about "literal" + std::string: gcc.gnu.org/PR105651
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 15)
    list(APPEND warnings -Wno-deprecated-declarations)  # std::stable_sort of libstdc++ 12 uses what C++17 deprecates; g++ still warns of ours
  endif()
  if(FRIEZE_WERROR)
    list(APPEND warnings -Werror)
  endif()
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${warnings}>)
  if(FRIEZE_WITH_CUDA)
    # Device lambdas are not used; relaxed constexpr lets kernels call constexpr helpers.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr --compress-mode=size -Xcompiler=-Wall,-Wextra -Wno-deprecated-gpu-targets>)
    if(FRIEZE_WERROR)
      target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
    endif()
  endif()
  if(FRIEZE_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${FRIEZE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
    target_link_options(${target} PUBLIC -fsanitize=${FRIEZE_SANITIZE})
  endif()
endfunction()

# A shared library `target` called libfrieze<suffix>.so of the objects of static ones.
function(frieze_shared_library target suffix)
  set(objects "")
  foreach(from ${ARGN})
    list(APPEND objects $<TARGET_OBJECTS:${from}>)
  endforeach()
  add_library(${target} SHARED ${objects})
  # Template instances of the standard library over Frieze's types are nobody else's business.
  set(exports ${PROJECT_SOURCE_DIR}/tools/cmake/exports.map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${exports} -Wl,--no-undefined)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME frieze${suffix} LINK_DEPENDS ${exports} VERSION ${PROJECT_VERSION}
                        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LINKER_LANGUAGE CXX)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${FRIEZE_INCLUDE_DIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
endfunction()

# layers/shared/simd/matmul.cpp is compiled once per x86 instruction set; layers/shared/matmul.cpp picks one when the program runs.
function(frieze_cpu_dispatch target)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/layers/shared/simd/matmul.cpp)
  if(NOT EXISTS ${source})
    return()
  endif()
  set(variants baseline)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND variants avx2 avx512)
  endif()
  set(flags_baseline "")
  set(flags_avx2 -mavx2 -mfma -mf16c)
  set(flags_avx512 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mf16c)
  foreach(variant ${variants})
    add_library(frieze_matmul_${variant} OBJECT ${source})
    frieze_target(frieze_matmul_${variant})
    # Eigen gets another namespace in each variant, so that the linker never mixes their inline functions.
    target_compile_definitions(frieze_matmul_${variant} PRIVATE FRIEZE_SIMD=${variant} Eigen=Eigen_${variant})
    target_compile_options(frieze_matmul_${variant} PRIVATE ${flags_${variant}})
    target_link_libraries(frieze_matmul_${variant} PRIVATE Eigen3::Eigen)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:frieze_matmul_${variant}>)
    set_property(GLOBAL APPEND PROPERTY FRIEZE_OBJECT_LIBRARIES frieze_matmul_${variant})
    target_compile_definitions(${target} PRIVATE FRIEZE_HAS_SIMD_${variant}=1)
  endforeach()
endfunction()

# layers/*/cuda/sm90a/*.cu use instructions that only the target sm_90a has (wgmma, setmaxnreg); compiled if 90 is among the architectures.
function(frieze_sm90a_kernels target)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/layers/*/cuda/sm90a/*.cu)
  set(built 0)
  if(sources AND "${CMAKE_CUDA_ARCHITECTURES}" MATCHES "(^|;)90a?(-real|-virtual)?(;|$)")
    set(built 1)
    add_library(frieze_sm90a OBJECT ${sources})
    frieze_target(frieze_sm90a)
    set_target_properties(frieze_sm90a PROPERTIES CUDA_ARCHITECTURES OFF)
    target_compile_options(frieze_sm90a PRIVATE ${FRIEZE_CUDA_OPTIONS} $<$<COMPILE_LANGUAGE:CUDA>:-gencode=arch=compute_90a,code=sm_90a>)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:frieze_sm90a>)
    set_property(GLOBAL APPEND PROPERTY FRIEZE_OBJECT_LIBRARIES frieze_sm90a)
  endif()
  target_compile_definitions(${target} PRIVATE FRIEZE_HAS_SM90A=${built})
endfunction()

# Generates the one function that registers the kernels of every folder of layers/ that has a .cu file.
function(frieze_collect_layers out)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/layers/*/*.cu)
  set(names "")
  foreach(source ${sources})
    get_filename_component(folder ${source} DIRECTORY)
    get_filename_component(name ${folder} NAME)
    list(APPEND names ${name})
  endforeach()
  list(REMOVE_DUPLICATES names)
  set(declarations "")
  set(calls "")
  foreach(name ${names})
    string(APPEND declarations "void register_${name}(KernelRegistry& registry);\n")
    string(APPEND calls "  register_${name}(registry);\n")
  endforeach()
  set(table ${CMAKE_CURRENT_BINARY_DIR}/register_all_layers.cpp)
  file(CONFIGURE OUTPUT ${table} CONTENT "#include <frieze/core/cuda/kernel.h>\n\nnamespace frieze::cuda {\n\n${declarations}\nvoid register_all_layers(KernelRegistry& registry);\nvoid register_all_layers(KernelRegistry& registry) {\n${calls}}\n\n}  // namespace frieze::cuda\n" @ONLY)
  set(${out} ${table} PARENT_SCOPE)
endfunction()

# Generates the one function that registers the rewrites of layers/*/rewrites*.cpp: register_rewrites_<folder>() of rewrites.cpp,
# register_rewrites_<more>_<folder>() of rewrites_<more>.cpp.
function(frieze_collect_rewrites out)
  file(GLOB sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/layers/*/rewrites*.cpp)
  set(declarations "")
  set(calls "")
  foreach(source ${sources})
    get_filename_component(folder ${source} DIRECTORY)
    get_filename_component(folder ${folder} NAME)
    get_filename_component(stem ${source} NAME_WE)
    string(APPEND declarations "void register_${stem}_${folder}(RewriteRegistry& registry);\n")
    string(APPEND calls "  register_${stem}_${folder}(registry);\n")
  endforeach()
  set(table ${CMAKE_CURRENT_BINARY_DIR}/register_all_rewrites.cpp)
  file(CONFIGURE OUTPUT ${table} CONTENT "#include <frieze/core/rewrite.h>\n\nnamespace frieze {\n\n${declarations}\nvoid register_all_rewrites(RewriteRegistry& registry);\nvoid register_all_rewrites(RewriteRegistry& registry) {\n${calls}}\n\n}  // namespace frieze\n" @ONLY)
  set(${out} ${table} PARENT_SCOPE)
endfunction()

# Generates the one function that registers the CPU kernels of layers/*/cpu and, with oneDNN, layers/*/onednn:
# register_cpu_<folder>() and register_onednn_<folder>(), of every folder with such a file.
function(frieze_collect_cpu_kernels out)
  set(declarations "")
  set(calls "")
  foreach(kind ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/layers/*/${kind}/*.cpp)
    list(FILTER sources EXCLUDE REGEX "^layers/shared/")
    set(names "")
    foreach(source ${sources})
      string(REGEX REPLACE "^layers/([^/]+)/.*" "\\1" name ${source})
      list(APPEND names ${name})
    endforeach()
    list(REMOVE_DUPLICATES names)
    foreach(name ${names})
      string(APPEND declarations "void register_${kind}_${name}(KernelRegistry& registry);\n")
      string(APPEND calls "  register_${kind}_${name}(registry);\n")
    endforeach()
  endforeach()
  set(table ${CMAKE_CURRENT_BINARY_DIR}/register_all_cpu_kernels.cpp)
  file(CONFIGURE OUTPUT ${table} CONTENT "#include <frieze/core/cpu/kernel.h>\n\nnamespace frieze::cpu {\n\n${declarations}\nvoid register_all_kernels(KernelRegistry& registry);\nvoid register_all_kernels(KernelRegistry& registry) {\n${calls}}\n\n}  // namespace frieze::cpu\n" @ONLY)
  set(${out} ${table} PARENT_SCOPE)
endfunction()

# Links models/<name>/<name>.safetensors of every model that has one into `target`, as std::span<const std::byte> <name>_weights().
function(frieze_embed_weights target)
  file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/models/*/*.safetensors)
  foreach(file ${files})
    get_filename_component(name ${file} NAME_WE)
    set(source ${PROJECT_BINARY_DIR}/${name}_weights.cpp)
    if(FRIEZE_PYTHON)
      configure_file(${PROJECT_SOURCE_DIR}/tools/python/weights_beside.cpp.in ${source} @ONLY)
      target_sources(${target} PRIVATE ${source})
      install(FILES ${file} DESTINATION frieze COMPONENT python)
      continue()
    endif()
    file(CONFIGURE OUTPUT ${source} CONTENT [[
#include <cstddef>
#include <span>

asm(".pushsection .rodata\n.balign 64\n.globl frieze_@name@_weights_begin\nfrieze_@name@_weights_begin:\n.incbin \"@file@\"\n"
    ".globl frieze_@name@_weights_end\nfrieze_@name@_weights_end:\n.popsection\n");
extern "C" const std::byte frieze_@name@_weights_begin[], frieze_@name@_weights_end[];

namespace frieze {
std::span<const std::byte> @name@_weights();
std::span<const std::byte> @name@_weights() { return {frieze_@name@_weights_begin, frieze_@name@_weights_end}; }
}  // namespace frieze
]] @ONLY)
    set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS ${file})
    target_sources(${target} PRIVATE ${source})
  endforeach()
endfunction()
