// Run-time detection of instruction sets: supported by the processor, and enabled by the operating system.

#include <cstring>
#include <initializer_list>

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace cutaway {

#if defined(__x86_64__)
namespace {

struct Registers {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
};

Registers cpuid(unsigned leaf) {
    Registers r;
    __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

bool has_bits(unsigned value, std::initializer_list<int> bits) {
    for (int bit : bits)
        if (!(value >> bit & 1)) return false;
    return true;
}

// XCR0, the register state that the operating system saves: bits 1-2 SSE and AVX, 5-7 AVX-512, 17-18 AMX.
unsigned saved_registers() {
    if (!has_bits(cpuid(1).ecx, {27})) return 0;
    unsigned low;
    unsigned high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

bool has_avx2() {
    return has_bits(saved_registers(), {1, 2}) && has_bits(cpuid(1).ecx, {12, 28, 29})  // FMA, AVX, F16C
           && has_bits(cpuid(7).ebx, {5});
}

bool has_avx512() {
    return has_avx2() && has_bits(saved_registers(), {5, 6, 7}) && has_bits(cpuid(7).ebx, {16, 17, 30, 31})  // F, DQ, BW, VL
           && has_bits(cpuid(7).ecx, {11});                                                                  // VNNI
}

// Linux saves the tile registers only for a process that has requested it; the request may be refused.
bool may_use_tiles() {
#if defined(__linux__)
    constexpr int kRequestPermission = 0x1023;
    constexpr int kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

bool has_amx() {
    return has_avx512() && has_bits(saved_registers(), {17, 18}) && has_bits(cpuid(7).edx, {24, 25})  // TILE, INT8
           && may_use_tiles();
}

}  // namespace
#endif

const Kernels* find_kernels(const char* name) {
    const auto wanted = [=](const Kernels& k) { return !name || !std::strcmp(name, k.name); };
#if defined(__x86_64__)
    if (wanted(kKernelsAmx) && has_amx()) return &kKernelsAmx;
    if (wanted(kKernelsAvx512) && has_avx512()) return &kKernelsAvx512;
    if (wanted(kKernelsAvx2) && has_avx2()) return &kKernelsAvx2;
#endif
    return wanted(kKernelsPortable) ? &kKernelsPortable : nullptr;
}

const Format* find_format(const Kernels& kernels, const char* name) {
    const Format* const* format = kernels.formats;
    while (*format && std::strcmp((*format)->name, name)) format++;
    return *format;
}

}  // namespace cutaway
