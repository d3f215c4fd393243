#include "kernels/cpu.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace flyball::kernels {

namespace {

// Best first; each needs all that the next one needs (a test checks it), so the usable ones are a tail of the list: of the
// second list where AVX-VNNI is missing, which processors with AVX-512 may lack.
constexpr const Table* const tables[] = {&amx_table,   &avx512_table, &avx_vnni_table, &avx2_table,
                                         &sse41_table, &swar_table,   &scalar_table};
constexpr const Table* const tables_without_vnni[] = {&amx_table,   &avx512_table, &avx2_table,
                                                      &sse41_table, &swar_table,   &scalar_table};

}  // namespace

Span<const Table* const> all_tables() { return tables; }

Span<const Table* const> tables_for(u64 features) {
  Span<const Table* const> usable = tables_without_vnni;
  if ((features & cpu_avx_vnni) != 0) usable = tables;
  while ((usable[0]->features & ~features) != 0) usable = usable.subspan(1, usable.size - 1);
  return usable;
}

Span<const Table* const> usable_tables() { return tables_for(cpu_features()); }

// Registers of 256 bits turn a block around in less time than memory takes to bring it; halves of them do not.
u64 kept_in_file(const Table& table) {
  const bool wide = (table.features & cpu_avx2) != 0 && (cpu_features() & cpu_whole_vectors) != 0;
  return wide ? table.in_file : 0;
}

Result<const Table*> select_table(Str name) {
  const Span<const Table* const> usable = usable_tables();
  if (name == "word64") name = swar_table.name;  // the old name, read for one version; callers warn of it
  if (name.empty() || name == "auto") return usable[0];
  for (const Table* table : usable) {
    if (name == table->name) return table;
  }
  bool exists = false;
  for (const Table* table : all_tables()) exists |= name == table->name;
  ErrorBuilder error(exists ? Code::unsupported : Code::invalid_argument, "isa", Error::no_offset);
  error << "'" << name
        << (exists ? "' needs features that this processor or system lacks; use one of: auto"
                   : "' is not an instruction set of this build; use one of: auto");
  for (const Table* table : usable) error << ", " << Str(table->name);
  return error;
}

}  // namespace flyball::kernels
