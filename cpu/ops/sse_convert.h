// CVT*: conversions between single, double and integers, in XMM, MMX and general registers.
#pragma once

namespace matryoshka {

class Processor;
struct Op;

namespace sse {

// General register or memory to XMM: CVTSI2SS, CVTSI2SD
bool general_to_single(Processor&, const Op&);
bool general_to_double(Processor&, const Op&);
// XMM to general register: CVTSS2SI, CVTTSS2SI, CVTSD2SI, CVTTSD2SI
bool single_to_general(Processor&, const Op&);
bool single_to_general_truncated(Processor&, const Op&);
bool double_to_general(Processor&, const Op&);
bool double_to_general_truncated(Processor&, const Op&);

// CVTSS2SD, CVTSD2SS, CVTPS2PD, CVTPD2PS
bool scalar_single_to_double(Processor&, const Op&);
bool scalar_double_to_single(Processor&, const Op&);
bool packed_single_to_double(Processor&, const Op&);
bool packed_double_to_single(Processor&, const Op&);

// CVTDQ2PS, CVTDQ2PD, CVTPS2DQ, CVTTPS2DQ, CVTPD2DQ, CVTTPD2DQ
bool integers_to_single(Processor&, const Op&);
bool integers_to_double(Processor&, const Op&);
bool packed_single_to_integers(Processor&, const Op&);
bool packed_single_to_integers_truncated(Processor&, const Op&);
bool packed_double_to_integers(Processor&, const Op&);
bool packed_double_to_integers_truncated(Processor&, const Op&);

// With an MMX register: CVTPI2PS, CVTPI2PD, CVTPS2PI, CVTTPS2PI, CVTPD2PI, CVTTPD2PI
bool mmx_to_single(Processor&, const Op&);
bool mmx_to_double(Processor&, const Op&);
bool single_to_mmx(Processor&, const Op&);
bool single_to_mmx_truncated(Processor&, const Op&);
bool double_to_mmx(Processor&, const Op&);
bool double_to_mmx_truncated(Processor&, const Op&);

}  // namespace sse
}  // namespace matryoshka
