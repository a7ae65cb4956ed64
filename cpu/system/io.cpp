// IN, OUT, INS and OUTS: who may reach a port, and what an access costs the clock.
#include <algorithm>

#include "cpu/charges.h"
#include "cpu/system/segments.h"
#include "cpu/system/system.h"

namespace matryoshka::system {

namespace {

// "I/O Permission Bit Map": asked where the privilege level is above IOPL, and always in virtual-8086 mode.
bool check_port(Processor& cpu, uint16_t port, unsigned size) {
  const CpuState& s = cpu.state;
  if (!s.protected_mode() || (!s.virtual_8086() && cpu.cpl() <= s.iopl())) return true;
  uint16_t map, bits;
  if (!(s.tr.type() & 8) || s.tr.limit < 0x67) return cpu.fault.raise(GP_vector, 0);
  if (!cpu.mmu.system_load(s.tr.base + 0x66, map)) return false;
  // Two bytes are read, so the map ends with a byte of ones.
  const uint32_t at = uint32_t{map} + port / 8;
  if (at + 1 > s.tr.limit) return cpu.fault.raise(GP_vector, 0);
  if (!cpu.mmu.system_load(s.tr.base + at, bits)) return false;
  return !(bits >> port % 8 & ((1u << size) - 1)) || cpu.fault.raise(GP_vector, 0);
}

// "Debug Control Register (DR7)": with CR4.DE, R/W 10 stands for ports.
void match_breakpoints(Processor& cpu, uint16_t port, unsigned size) {
  CpuState& s = cpu.state;
  if (!(s.dr7 & 0xff) || !(s.cr4 & cr4::DE)) return;
  for (unsigned i = 0; i < 4; ++i) {
    const bool enabled = s.dr7 >> 2 * i & 3, for_ports = (s.dr7 >> (16 + 4 * i) & 3) == 2;
    const unsigned length = (s.dr7 >> (18 + 4 * i) & 3) + 1;
    const uint64_t start = s.dr[i] & ~uint64_t{length - 1};
    if (!enabled || !for_ports || port >= start + length || start >= port + size) continue;
    s.pending_debug |= uint64_t{1} << i;
    cpu.notice();
  }
}

// REX.W makes no port wider.
unsigned port_bytes(const Op& op) { return std::min(op.operand_bytes(), 4u); }

// "Exit Qualification for I/O Instructions".
enum IoForm : uint64_t {
  output_form = 0,
  input_form = 1 << 3,
  string_form = 1 << 4,
  repeated_form = 1 << 5,
  immediate_form = 1 << 6
};

bool exits_at_port(Processor& cpu, uint16_t port, unsigned size, uint64_t form) {
  vmx::Cause cause;
  if (!cpu.vmx.guards_port(port, size, cause)) return false;
  return cpu.exits(vmx::Reason::io_instruction, cause, (size - 1) | form | uint64_t{port} << 16);
}

bool input(Processor& cpu, const Op& op, uint16_t port, uint64_t form) {
  const unsigned size = port_bytes(op);
  if (!check_port(cpu, port, size) || exits_at_port(cpu, port, size, input_form | form)) return false;
  cpu.clock.ticks += port_charge;
  cpu.write_gpr(RAX * 8, 8 * size, cpu.bus.read_port(port, size));
  match_breakpoints(cpu, port, size);
  return true;
}

bool output(Processor& cpu, const Op& op, uint16_t port, uint64_t form) {
  const unsigned size = port_bytes(op);
  if (!check_port(cpu, port, size) || exits_at_port(cpu, port, size, output_form | form)) return false;
  cpu.clock.ticks += port_charge;
  cpu.bus.write_port(port, size, static_cast<uint32_t>(cpu.read_gpr(RAX * 8, 8 * size)));
  match_breakpoints(cpu, port, size);
  return true;
}

// One INS or OUTS, or a portion of a repeated one: as many iterations as begin before the next event, or cause one. An iteration
// that faults leaves the registers as the one before it did.
template <class Iteration>
bool repeat(Processor& cpu, const Op& op, unsigned index, unsigned segment, Iteration iteration) {
  const bool repeated = op.flags & (Op::rep | Op::repne);
  const uint64_t mask = op.address_mask();
  if (repeated && (cpu.state.gpr[RCX] & mask) == 0) return true;
  const auto port = static_cast<uint16_t>(cpu.state.gpr[RDX]);
  if (!check_port(cpu, port, port_bytes(op))) return false;
  const uint64_t form = string_form | (repeated ? repeated_form : 0) | (index == RDI ? input_form : output_form);
  if (exits_at_port(cpu, port, port_bytes(op), form)) {
    PendingExit& exit = cpu.fault.pending_exit;
    exit.guest_linear = (cpu.state.gpr[index] & mask) + cpu.segment_base(segment);
    if (cpu.mode().code_bits != 64) exit.guest_linear = static_cast<uint32_t>(exit.guest_linear);
    exit.instruction_info = (op.address_bits() == 16 ? 0 : op.address_bits() == 32 ? 1 : 2) << 7 | segment << 15;
    return false;
  }

  const uint64_t start = cpu.clock.ticks, allowed = std::min<uint64_t>(cpu.ticks_left(op), 4096);
  const int64_t step = cpu.state.system_flags & rflags::DF ? -int64_t{port_bytes(op)} : int64_t{port_bytes(op)};
  const uint64_t charge = repeated ? 1 + port_burst_charge : port_charge;
  uint64_t spent = 0;
  do {
    cpu.clock.ticks = start + spent + charge;
    if (!iteration(cpu.state.gpr[index] & mask)) {
      cpu.charge(spent);
      return false;
    }
    match_breakpoints(cpu, static_cast<uint16_t>(cpu.state.gpr[RDX]), port_bytes(op));
    spent += charge;
    cpu.write_gpr(index * 8, op.address_bits(), cpu.state.gpr[index] + static_cast<uint64_t>(step));
    if (!repeated) break;
    cpu.write_gpr(RCX * 8, op.address_bits(), cpu.state.gpr[RCX] - 1);
    if ((cpu.state.gpr[RCX] & mask) == 0) break;
    const bool due = cpu.clock.next_deadline() <= cpu.clock.now();  // the port may have armed a timer
    if (spent >= allowed || due || cpu.attention_wanted()) return cpu.again(op, spent);
  } while (true);
  return true;
}

}  // namespace

bool in_immediate(Processor& cpu, const Op& op) { return input(cpu, op, op.immediate8(), immediate_form); }
bool in_dx(Processor& cpu, const Op& op) { return input(cpu, op, static_cast<uint16_t>(cpu.state.gpr[RDX]), 0); }
bool out_immediate(Processor& cpu, const Op& op) { return output(cpu, op, op.immediate8(), immediate_form); }
bool out_dx(Processor& cpu, const Op& op) { return output(cpu, op, static_cast<uint16_t>(cpu.state.gpr[RDX]), 0); }

// The destination is known to be writable before the port is read: reading may not be repeated.
bool ins(Processor& cpu, const Op& op) {
  const unsigned size = port_bytes(op);
  return repeat(cpu, op, RDI, ES, [&](uint64_t offset) {
    uint64_t linear;
    if (!cpu.segment_address(ES, offset, size, AccessKind::write, linear) || !cpu.mmu.probe_store(linear, size)) return false;
    const uint64_t value = cpu.bus.read_port(static_cast<uint16_t>(cpu.state.gpr[RDX]), size);
    return cpu.mmu.store_slow(linear, &value, size);
  });
}

bool outs(Processor& cpu, const Op& op) {
  const unsigned size = port_bytes(op);
  const unsigned segment = op.segment == static_cast<uint8_t>(Segments::none) ? unsigned{DS} : op.segment;
  return repeat(cpu, op, RSI, segment, [&](uint64_t offset) {
    uint64_t linear, value = 0;
    if (!cpu.segment_address(segment, offset, size, AccessKind::read, linear) || !cpu.mmu.load_slow(linear, &value, size))
      return false;
    cpu.bus.write_port(static_cast<uint16_t>(cpu.state.gpr[RDX]), size, static_cast<uint32_t>(value));
    return true;
  });
}

}  // namespace matryoshka::system
