# Flags and the few functions that CMakeLists.txt uses.

# Sources of folders under cpp/. A folder appears with its first file, so a missing one is no error.
function(flyball_sources out)
  set(patterns)
  foreach(folder ${ARGN})
    list(APPEND patterns ${PROJECT_SOURCE_DIR}/cpp/${folder}/*.cpp)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

# Flags for everything. Contraction stays off everywhere, hosted code too: inline functions of base/math.h land there.
add_library(flyball_flags INTERFACE)
target_compile_options(flyball_flags INTERFACE
  -ffp-contract=off -fno-math-errno
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # gcc 12 warns of its own std::string (gcc bug 105651)
  $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=524288>  # KiB before it collects garbage: 8 % of its time, in 1.2 GB
  $<BUILD_INTERFACE:-Wall;-Wextra;-Wshadow;-Werror=return-type;-Werror=switch>
  $<$<BOOL:${FLYBALL_WERROR}>:-Werror>)
if(FLYBALL_SANITIZE)
  target_compile_options(flyball_flags INTERFACE
    -fsanitize=${FLYBALL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(flyball_flags INTERFACE -fsanitize=${FLYBALL_SANITIZE})
endif()

if(FLYBALL_UNORDERED_SUMS)
  target_compile_definitions(flyball_flags INTERFACE FLYBALL_UNORDERED_SUMS)
  target_compile_options(flyball_flags INTERFACE -fassociative-math -fno-signed-zeros -fno-trapping-math)
endif()

if(FLYBALL_FUZZ)
  target_compile_options(flyball_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# What makes the core freestanding. Static locals may not need guards: there is no run-time library to provide them.
add_library(flyball_core_flags INTERFACE)
target_compile_options(flyball_core_flags INTERFACE
  -fno-exceptions -fno-rtti -fno-threadsafe-statics)

# Kernels of one instruction set are compiled for it and for nothing else; dispatch at run time picks the table.
set(FLYBALL_SSE41_FLAGS -mssse3 -msse4.1)
set(FLYBALL_AVX2_FLAGS -mavx2 -mfma -mf16c -mbmi -mbmi2)
# Sanitized, the unrolled vector code takes clang and gcc over 20 minutes and 5 GB a file to compile; its memory is checked
# through the tests of the tables' bits, and the scalar reference that it repeats is sanitized.
if(FLYBALL_SANITIZE)
  list(APPEND FLYBALL_SSE41_FLAGS -fno-sanitize=all)
  list(APPEND FLYBALL_AVX2_FLAGS -fno-sanitize=all)
endif()
set(FLYBALL_AVX_VNNI_FLAGS ${FLYBALL_AVX2_FLAGS} -mavxvnni)
set(FLYBALL_AVX512_FLAGS ${FLYBALL_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
  -mprefer-vector-width=512)
set(FLYBALL_AMX_FLAGS ${FLYBALL_AVX512_FLAGS} -mamx-tile -mamx-int8)

function(flyball_instruction_sets)
  foreach(isa SSE41 AVX2 AVX_VNNI AVX512 AMX)
    string(TOLOWER ${isa} name)
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cpp/kernels/${name}*.cpp)
    set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "${FLYBALL_${isa}_FLAGS}")
  endforeach()
endfunction()

# One program for each source in a folder: bench/kernels/gemm.cpp becomes flyball-bench-gemm. `kind` prefixes the name;
# a source that already starts with it (fuzz_gguf.cpp) does not repeat it.
function(flyball_programs kind folder)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    string(REGEX REPLACE "^${kind}_" "" name ${name})
    set(program flyball-${kind}-${name})
    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE flyball_host)
    target_compile_options(${program} PRIVATE ${ARGN})
    target_link_options(${program} PRIVATE ${ARGN})
  endforeach()
endfunction()
