# Target `freestanding`: the core's sources compile for bare metal (UEFI's object format and calling convention) with neither
# a C nor a C++ library. Objects only; the boot image links them.
# By name, so that a compiler installed after the configuration is found.
set(FLYBALL_CLANG clang++-19 CACHE STRING "The compiler of the freestanding check")

set(freestanding_flags
  --target=x86_64-unknown-windows -std=c++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics
  -fno-stack-protector -mno-red-zone -mno-stack-arg-probe -fshort-wchar -ffp-contract=off -fno-math-errno -nostdinc++
  -Wall -Wextra -Werror -I${PROJECT_SOURCE_DIR}/cpp)

set(objects)
foreach(source ${core_sources})
  cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR}/cpp OUTPUT_VARIABLE name)
  set(object ${PROJECT_BINARY_DIR}/freestanding/${name}.obj)
  get_source_file_property(isa_flags ${source} COMPILE_OPTIONS)
  if(NOT isa_flags)
    set(isa_flags)
  endif()
  cmake_path(GET object PARENT_PATH folder)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${FLYBALL_CLANG} ${freestanding_flags} ${isa_flags} -MD -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source} DEPFILE ${object}.d
    COMMENT "Freestanding ${name}" VERBATIM)
  list(APPEND objects ${object})
endforeach()
add_custom_target(freestanding DEPENDS ${objects})
