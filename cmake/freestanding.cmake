# Bare metal: the core compiles for UEFI's object format and calling convention with neither a C nor a C++ library.
# Target `freestanding`: the core's objects. Target `efi`: the boot image's program, flyball.efi.
# By name, so that a compiler installed after the configuration is found.
set(FLYBALL_CLANG clang++-19 CACHE STRING "The compiler for bare metal")
set(FLYBALL_LLD lld-link-19 CACHE STRING "The linker for bare metal")

# Nobody runs constructors of globals there: one is an error.
set(freestanding_flags
  --target=x86_64-unknown-windows -std=c++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics
  -fno-stack-protector -mno-red-zone -mno-stack-arg-probe -fshort-wchar -fno-asynchronous-unwind-tables -fno-unwind-tables
  -ffp-contract=off -fno-math-errno -nostdinc++ -Wall -Wextra -Wglobal-constructors -Werror -I${PROJECT_SOURCE_DIR}/cpp)

# Appends the object of each source to `out`.
function(flyball_freestanding out)
  set(objects ${${out}})
  foreach(source ${ARGN})
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
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

flyball_freestanding(freestanding_core ${core_sources})
add_custom_target(freestanding DEPENDS ${freestanding_core})

# -Brepro: the same sources give the same bytes. -base:0: elsewhere the image would split the memory above 4 GiB.
flyball_sources(uefi_sources uefi)
flyball_freestanding(uefi_objects ${uefi_sources})
set(efi ${PROJECT_BINARY_DIR}/flyball.efi)
list(JOIN freestanding_core "\"\n\"" core_list)
list(JOIN uefi_objects "\"\n\"" uefi_list)
file(WRITE ${PROJECT_BINARY_DIR}/efi.rsp "\"${core_list}\"\n\"${uefi_list}\"\n")
add_custom_command(
  OUTPUT ${efi}
  COMMAND ${FLYBALL_LLD} -nologo -subsystem:efi_application -entry:efi_main -nodefaultlib -base:0 -Brepro
    -map:${efi}.map -out:${efi} @${PROJECT_BINARY_DIR}/efi.rsp
  DEPENDS ${freestanding_core} ${uefi_objects}
  COMMENT "Linking flyball.efi" VERBATIM)
add_custom_target(efi DEPENDS ${efi})
