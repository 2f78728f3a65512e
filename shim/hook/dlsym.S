/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public dlsym. What is not ours is passed on by a jump, not a call: the real dlsym takes its caller from the return
 * address (RTLD_NEXT, RTLD_DEFAULT), and with a C wrapper that caller would be us: LLVM's OpenMP runtime then finds itself
 * as its own successor and `import torch` never ends. No stack frame, so no compiler flag can change that.
 *
 *   struct { void *handled; void *address; } mt_dlsym_answer(void *handle, const char *name, void *caller)
 */
        .text
        .globl  dlsym
        .type   dlsym, %function
#if defined(__x86_64__)
        .p2align 4
dlsym:
        .cfi_startproc
        endbr64
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        movq    24(%rsp), %rdx
        call    mt_dlsym_answer
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        testq   %rax, %rax
        jz      1f
        movq    %rdx, %rax
        ret
1:      movq    mt_real_dlsym(%rip), %rax
        jmp     *%rax
        .cfi_endproc
#elif defined(__aarch64__)
        .p2align 4
dlsym:
        .cfi_startproc
        stp     x29, x30, [sp, #-32]!
        .cfi_adjust_cfa_offset 32
        stp     x0, x1, [sp, #16]
        mov     x2, x30
        bl      mt_dlsym_answer
        mov     x9, x0
        mov     x10, x1
        ldp     x0, x1, [sp, #16]
        ldp     x29, x30, [sp], #32
        .cfi_adjust_cfa_offset -32
        cbz     x9, 1f
        mov     x0, x10
        ret
1:      adrp    x9, mt_real_dlsym
        ldr     x9, [x9, #:lo12:mt_real_dlsym]
        br      x9
        .cfi_endproc
#else
#error "dlsym: write this stub for your processor"
#endif
        .size   dlsym, . - dlsym
        .section .note.GNU-stack, "", %progbits
