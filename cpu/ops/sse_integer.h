// Integer instructions of SSE4 that do not write a vector: PTEST and CRC32. The packed ones are functions of lanes.h.
#pragma once

namespace matryoshka {

class Processor;
struct Op;

namespace sse {

bool test_bits(Processor&, const Op&);            // PTEST
bool accumulate_crc_byte(Processor&, const Op&);  // CRC32 Gy,Eb
bool accumulate_crc(Processor&, const Op&);       // CRC32 Gy,Ev

}  // namespace sse
}  // namespace matryoshka
