# What is installed, and the CMake package: find_package(frieze) gives frieze::frieze and frieze::models.

# What users and authors of layers include, and what those headers include; every other header is internal. tests/packaging/headers.txt
# lists the result. Each says `namespace frieze FRIEZE_API`, which is what shared libraries export.
set(FRIEZE_PUBLIC_HEADERS
    core/api.h core/constant.h core/dtype.h core/error.h core/half.h core/integers.h core/layer.h core/load.h core/loop.h core/module.h core/module_list.h core/parameter.h core/rewrite.h core/shape.h core/size2d.h core/tensor.h core/value.h core/version.h core/weights.h
    graph/against.h graph/finite.h graph/host_values.h graph/memory_plan.h graph/options.h graph/plan.h graph/port.h graph/profile.h graph/receipt.h graph/repeat.h graph/session.h graph/verify.h
    models/autoencoder.h models/dc_ae/blocks.h models/dc_ae/checkpoint.h models/dc_ae/config.h models/dc_ae/dc_ae.h models/dc_ae/tiling.h
    models/denoiser/denoise.h models/denoiser/denoiser.h models/quickstart.h)
file(GLOB layers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/layers/*/*.h)  # a new layer edits no shared file
list(FILTER layers EXCLUDE REGEX "^layers/shared/")  # for layers of this tree
list(APPEND FRIEZE_PUBLIC_HEADERS ${layers})

# <frieze/frieze.h>: all of them but the models.
set(includes "")
foreach(header ${FRIEZE_PUBLIC_HEADERS})
  if(NOT header MATCHES "^models/")
    string(APPEND includes "#include <frieze/${header}>\n")
  endif()
endforeach()
file(CONFIGURE OUTPUT ${FRIEZE_INCLUDE_DIR}/frieze/frieze.h CONTENT [[
#pragma once
/// All of Frieze in one header, but for the models that come along (<frieze/models/...>) and what kernels are written with
/// (<frieze/core/cuda/...>).
@includes@]] @ONLY)

option(FRIEZE_INSTALL "Install headers, libraries, program and CMake package" ${PROJECT_IS_TOP_LEVEL})
if(NOT FRIEZE_INSTALL)
  return()
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(FRIEZE_WITH_CUDA)  # for layers with kernels of their own; these include CUDA's headers
  list(APPEND FRIEZE_PUBLIC_HEADERS core/cuda/checked_call.h core/cuda/graph_nodes.h core/cuda/kernel.h core/cuda/launch.cuh)
endif()
foreach(header ${FRIEZE_PUBLIC_HEADERS})
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${PROJECT_SOURCE_DIR}/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/frieze/${folder})
endforeach()
install(FILES tests/testing/parity.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/frieze/testing)
install(FILES ${FRIEZE_INCLUDE_DIR}/frieze/frieze.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/frieze)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(BUILD_SHARED_LIBS)
  set(libraries frieze_shared frieze_models_shared frieze_testing_shared)
  set_target_properties(frieze_shared PROPERTIES EXPORT_NAME frieze)
  set_target_properties(frieze_models_shared PROPERTIES EXPORT_NAME models INSTALL_RPATH $ORIGIN)
  set_target_properties(frieze_testing_shared PROPERTIES EXPORT_NAME testing)
else()
  set(libraries frieze_lib frieze_report frieze_cpu)
  foreach(library cuda models testing)
    if(TARGET frieze_${library})
      list(APPEND libraries frieze_${library})
    endif()
  endforeach()
  foreach(library ${libraries})
    if(NOT library STREQUAL "frieze_lib")  # frieze_cpu -> frieze::cpu, as in the build tree
      string(REPLACE "frieze_" "" name ${library})
      set_target_properties(${library} PROPERTIES EXPORT_NAME ${name})
    endif()
  endforeach()
endif()
install(TARGETS ${libraries} EXPORT frieze-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET frieze)
  install(TARGETS frieze RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/frieze)
install(EXPORT frieze-targets NAMESPACE frieze:: DESTINATION ${package})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/frieze-config.cmake.in ${PROJECT_BINARY_DIR}/frieze-config.cmake
                              INSTALL_DESTINATION ${package})
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/frieze-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/frieze-config.cmake ${PROJECT_BINARY_DIR}/frieze-config-version.cmake DESTINATION ${package})
