// The plain functions of the rows in isa/system.def, by the file that holds them.
//
// All run outside of any block's middle: state.rip is already the next instruction's address. True means completed; false means
// that cpu.fault holds an exception and nothing architectural has changed, except what the instruction is documented to leave.
#pragma once

#include "cpu/instruction.h"
#include "cpu/state/registers.h"

namespace matryoshka {

class Processor;

namespace system {

// segments.cpp
bool mov_from_segment(Processor&, const Op&);
bool mov_to_segment(Processor&, const Op&);
template <SegmentName S>
bool push_segment(Processor&, const Op&);
template <SegmentName S>
bool pop_segment(Processor&, const Op&);
template <SegmentName S>
bool load_far_pointer(Processor&, const Op&);  // LES, LSS, LDS, LFS, LGS
bool lar(Processor&, const Op&);
bool lsl(Processor&, const Op&);
bool verr(Processor&, const Op&);
bool verw(Processor&, const Op&);
bool arpl(Processor&, const Op&);

// transfers.cpp
bool far_jump(Processor&, const Op&);  // the far pointer in the instruction or in memory
bool far_call(Processor&, const Op&);
bool far_return(Processor&, const Op&);  // with the number of parameter bytes to release as its immediate, or 0
bool interrupt_return(Processor&, const Op&);

// interrupts.cpp
bool interrupt_n(Processor&, const Op&);
bool interrupt_1(Processor&, const Op&);
bool interrupt_3(Processor&, const Op&);
bool interrupt_on_overflow(Processor&, const Op&);
bool bound(Processor&, const Op&);
bool undefined(Processor&, const Op&);  // UD0, UD1, UD2

// control_registers.cpp
bool mov_from_control(Processor&, const Op&);
bool mov_to_control(Processor&, const Op&);
bool mov_from_debug(Processor&, const Op&);
bool mov_to_debug(Processor&, const Op&);
bool clts(Processor&, const Op&);
bool lmsw(Processor&, const Op&);
bool smsw(Processor&, const Op&);
bool invlpg(Processor&, const Op&);
bool invpcid(Processor&, const Op&);

// descriptor_tables.cpp
bool sgdt(Processor&, const Op&);
bool sidt(Processor&, const Op&);
bool lgdt(Processor&, const Op&);
bool lidt(Processor&, const Op&);
bool sldt(Processor&, const Op&);
bool str(Processor&, const Op&);
bool lldt(Processor&, const Op&);
bool ltr(Processor&, const Op&);

// fast_calls.cpp
bool syscall(Processor&, const Op&);
bool sysret(Processor&, const Op&);
bool sysenter(Processor&, const Op&);
bool sysexit(Processor&, const Op&);
bool swapgs(Processor&, const Op&);
template <SegmentName S>
bool read_base(Processor&, const Op&);  // RDFSBASE, RDGSBASE
template <SegmentName S>
bool write_base(Processor&, const Op&);

// flags.cpp
bool cli(Processor&, const Op&);
bool sti(Processor&, const Op&);
bool pushf(Processor&, const Op&);
bool popf(Processor&, const Op&);
bool clac(Processor&, const Op&);
bool stac(Processor&, const Op&);
bool hlt(Processor&, const Op&);
bool pause(Processor&, const Op&);

// io.cpp
bool in_immediate(Processor&, const Op&);
bool in_dx(Processor&, const Op&);
bool out_immediate(Processor&, const Op&);
bool out_dx(Processor&, const Op&);
bool ins(Processor&, const Op&);
bool outs(Processor&, const Op&);

}  // namespace system
}  // namespace matryoshka
