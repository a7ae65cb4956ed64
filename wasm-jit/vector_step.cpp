#include "wasm-jit/vector_step.h"

#include <algorithm>

#include "cpu/decode.h"

namespace matryoshka::jit {

uint32_t VectorStep::xmm(unsigned n) {
  if (!xmm_[n]) xmm_[n] = f.new_local(WasmType::v128);
  return *xmm_[n];
}

uint16_t VectorStep::registers_of(const Op& op, unsigned count) {
  const OperandList& operands = operands_of(op.row());
  unsigned used = 0;
  for (unsigned i = 0; i < std::min(count, operands.count); ++i) switch (operands.operand[i].kind) {
      case OperandClass::xmm_reg: used |= 1u << op.reg; break;
      case OperandClass::xmm_rm:
        if (!op.is_memory()) used |= 1u << op.rm;
        break;
      case OperandClass::xmm_register_rm: used |= 1u << op.rm; break;
      default: break;
    }
  return static_cast<uint16_t>(used);
}

// All registers of the region have their locals before the first call of a helper is written.
void VectorStep::announce(const Step& step) {
  uint16_t used = registers_of(step.op);
  for (unsigned n = 0; n < 16; ++n)
    if (used >> n & 1) xmm(n);
  changed_ |= registers_of(step.op, 1);
  // PBLENDVB and its like have a third operand.
  xmm(0);
  if (!usual_) usual_ = f.new_local(WasmType::i32);
}

WasmWriter VectorStep::load(uint16_t which) const {
  WasmWriter w;
  for (unsigned n = 0; n < 16; ++n)
    if (xmm_[n] && which >> n & 1) w.i32(0), w.access(Simd::v128_load, layout_.xmm + 16 * n), w.set(*xmm_[n]);
  return w;
}

void VectorStep::store(uint16_t which) {
  for (unsigned n = 0; n < 16; ++n)
    if (xmm_[n] && changed_ >> n & which >> n & 1)
      code.i32(0), code.get(*xmm_[n]), code.access(Simd::v128_store, layout_.xmm + 16 * n);
}

void VectorStep::look_at_mxcsr() {
  known.usual = false;
  if (!usual_) return;
  // sse::usual_mxcsr()
  code.i32(0), code.access(Wasm::i32_load, layout_.mxcsr), code.i32(0xffe0), code.op(Wasm::i32_and);
  code.i32(0x1fa0), code.op(Wasm::i32_eq), code.set(*usual_);
}

void VectorStep::write(const Step& step) {
  step_ = &step;
  vector_row(step.op.row())->write(*this);
}

unsigned VectorStep::operand_bits(unsigned n) const {
  return bits_of_size(operands_of(op().row()).operand[n].size, op().operand_bits());
}

uint32_t VectorStep::source() {
  if (!memory()) return rm();
  const OperandList& operands = operands_of(op().row());
  unsigned n = 0;
  while (operands.operand[n].kind != OperandClass::xmm_rm && operands.operand[n].kind != OperandClass::memory_only) ++n;
  unsigned bits = operand_bits(n);
  uint32_t to = local(WasmType::v128);
  address(bits, false, rows[op().row()].attributes & attribute::ALIGNED);
  code.access(bits == 128 ? Simd::v128_load : bits == 64 ? Simd::v128_load64_zero : Simd::v128_load32_zero, 0);
  code.set(to);
  return to;
}

uint32_t VectorStep::low_lane(unsigned register_number, bool wide) {
  uint32_t to = local(wide ? WasmType::f64 : WasmType::f32);
  code.get(xmm(register_number)), code.lane(wide ? Simd::f64x2_extract_lane : Simd::f32x4_extract_lane, 0), code.set(to);
  return to;
}

uint32_t VectorStep::scalar_source(bool wide) {
  if (!memory()) return low_lane(op().rm, wide);
  uint32_t to = local(wide ? WasmType::f64 : WasmType::f32);
  address(wide ? 64 : 32, false, false);
  code.access(wide ? Wasm::f64_load : Wasm::f32_load, 0), code.set(to);
  return to;
}

void VectorStep::set_xmm(unsigned n) {
  code.set(xmm(n));
  known.ordinary[n] = 0;
}

void VectorStep::require_usual() {
  if (known.usual) return;
  code.get(*usual_), code.op(Wasm::i32_eqz);
  leave_if(0);
  known.usual = true;
}

}  // namespace matryoshka::jit
