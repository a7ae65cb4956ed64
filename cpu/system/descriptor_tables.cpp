// LGDT, LIDT, LLDT, LTR and what stores them.
#include "cpu/system/segments.h"
#include "cpu/system/system.h"
#include "cpu/system/vmx.h"

namespace matryoshka::system {

namespace {

// "User-Mode Instruction Prevention"
bool prevented(Processor& cpu) { return cpu.state.cr4 & cr4::UMIP && cpu.cpl() > 0; }

// "Descriptor-table exiting". The identities are those of the instruction-information field.
enum class Access : uint32_t { sgdt, sidt, lgdt, lidt, sldt = 0, str, lldt, ltr };
bool exits(Processor& cpu, const Op& op, vmx::Reason reason, Access access) {
  if (!cpu.vmx.guards(vmx::Control::secondary_descriptor_table_exiting)) return false;
  constexpr uint32_t operand_32 = 1 << 11, identity_at = 28, registers_only_low = 0x0fffffff;
  uint32_t info = memory_operand_info(op) & registers_only_low;
  if (!op.is_memory()) info = (info & ~0x78u) | uint32_t{op.rm / 8u} << 3;
  if (reason == vmx::Reason::gdtr_idtr_access && (op.operand_bits() != 16)) info |= operand_32;
  info |= static_cast<uint32_t>(access) << identity_at;
  return cpu.exits(reason, vmx::Control::secondary_descriptor_table_exiting, displacement_of(op, cpu), info);
}
constexpr auto tables = vmx::Reason::gdtr_idtr_access, segments = vmx::Reason::ldtr_tr_access;

// All of the base is stored whatever the operand size.
bool store_table(Processor& cpu, const Op& op, const TableRegister& table, Access access) {
  if (prevented(cpu)) return cpu.fault.raise(GP_vector, 0);
  if (exits(cpu, op, tables, access)) return false;
  const unsigned base_bytes = cpu.mode().code_bits == 64 ? 8 : 4;
  uint64_t linear;
  if (!cpu.linear_address(op, 2 + base_bytes, AccessKind::write, linear)) return false;
  // Both parts or none.
  if (!cpu.mmu.probe_store(linear, 2 + base_bytes)) return false;
  return cpu.store(op, linear, table.limit) && cpu.store_sized(op, linear + 2, table.base, base_bytes);
}

bool load_table(Processor& cpu, const Op& op, TableRegister& table, Access access) {
  if (exits(cpu, op, tables, access)) return false;
  const unsigned base_bytes = cpu.mode().code_bits == 64 ? 8 : 4;
  uint64_t linear, base;
  uint16_t limit;
  if (!cpu.linear_address(op, 2 + base_bytes, AccessKind::read, linear)) return false;
  if (!cpu.load(op, linear, limit) || !cpu.load_sized(op, linear + 2, base, base_bytes)) return false;
  if (base_bytes == 4 && op.operand_bits() == 16) base &= 0xffffff;
  if (base_bytes == 8 && !canonical(cpu.state, base)) return cpu.fault.raise(GP_vector, 0);
  table = {limit, base};
  return true;
}

// To memory 16 bits, to a register its whole operand size.
bool store_selector(Processor& cpu, const Op& op, uint16_t selector, Access access) {
  if (prevented(cpu)) return cpu.fault.raise(GP_vector, 0);
  if (exits(cpu, op, segments, access)) return false;
  if (op.is_memory()) return cpu.store_operand(op, selector);
  cpu.write_gpr(op.rm, op.operand_bits(), selector);
  return true;
}

// A system segment in the GDT, of one of the given types.
bool load_system_segment(Processor& cpu, uint16_t selector, uint32_t types, Segment& loaded) {
  const Blame blame;
  Descriptor d;
  if (selector & 4) return blame(cpu, selector);
  if (!fetch_system_descriptor(cpu, selector, d)) return false;
  if (d.is_code_or_data() || !(types >> d.type() & 1)) return blame(cpu, selector);
  if (!d.present()) return blame.refuse(cpu, NP_vector, selector);
  loaded = d.load(selector);
  if (cpu.state.long_mode()) {
    loaded.base = d.base64();
    if (!canonical(cpu.state, loaded.base)) return blame(cpu, selector);
  }
  return true;
}

}  // namespace

bool sgdt(Processor& cpu, const Op& op) { return store_table(cpu, op, cpu.state.gdtr, Access::sgdt); }
bool sidt(Processor& cpu, const Op& op) { return store_table(cpu, op, cpu.state.idtr, Access::sidt); }
bool lgdt(Processor& cpu, const Op& op) { return load_table(cpu, op, cpu.state.gdtr, Access::lgdt); }
bool lidt(Processor& cpu, const Op& op) { return load_table(cpu, op, cpu.state.idtr, Access::lidt); }

bool sldt(Processor& cpu, const Op& op) { return store_selector(cpu, op, cpu.state.ldtr.selector, Access::sldt); }
bool str(Processor& cpu, const Op& op) { return store_selector(cpu, op, cpu.state.tr.selector, Access::str); }

bool lldt(Processor& cpu, const Op& op) {
  uint64_t value;
  if (exits(cpu, op, segments, Access::lldt)) return false;
  if (!cpu.read_rm(op, value)) return false;
  const auto selector = static_cast<uint16_t>(value);
  if (is_null(selector)) {
    cpu.state.ldtr = null_segment(selector);
    return true;
  }
  return load_system_segment(cpu, selector, 1u << descriptor_type::ldt, cpu.state.ldtr);
}

bool ltr(Processor& cpu, const Op& op) {
  using namespace descriptor_type;
  uint64_t value;
  if (exits(cpu, op, segments, Access::ltr)) return false;
  if (!cpu.read_rm(op, value)) return false;
  const auto selector = static_cast<uint16_t>(value);
  if (is_null(selector)) return cpu.fault.raise(GP_vector, 0);
  Segment loaded;
  if (!load_system_segment(cpu, selector, 1u << tss32 | (cpu.state.long_mode() ? 0 : 1u << tss16), loaded)) return false;
  if (!set_busy(cpu, selector, true)) return false;
  loaded.rights |= busy;
  cpu.state.tr = loaded;
  return true;
}

}  // namespace matryoshka::system
