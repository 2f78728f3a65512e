# SPDX-License-Identifier: Apache-2.0
"""llama_model.py OUT.gguf [EXPERTS K]: a small Mixture-of-Experts model (qwen3moe) with random weights and no tokenizer, by the package gguf."""
import sys

import gguf
import numpy

LAYERS, HIDDEN, VOCAB, HEADS, KV_HEADS, HEAD, INNER = 5, 256, 4096, 8, 2, 64, 128


def main():
    out, experts, k = sys.argv[1], *(int(a) for a in sys.argv[2:4] or (64, 8))
    random = numpy.random.default_rng(5)
    w = gguf.GGUFWriter(out, 'qwen3moe')
    w.add_vocab_size(VOCAB)
    w.add_context_length(1024)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(INNER * k)
    w.add_expert_feed_forward_length(INNER)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD)
    w.add_value_length(HEAD)
    w.add_rope_freq_base(10000.0)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_expert_count(experts)
    w.add_expert_used_count(k)
    w.add_tokenizer_model('no_vocab')

    def put(name, *shape, scale=0.05):
        w.add_tensor(name + '.weight', (random.standard_normal(shape) * scale).astype(numpy.float16))

    def norm(name, size):
        w.add_tensor(name + '.weight', numpy.ones(size, numpy.float32))
    put('token_embd', VOCAB, HIDDEN, scale=1)
    put('output', VOCAB, HIDDEN)
    norm('output_norm', HIDDEN)
    for i in range(LAYERS):
        b = f'blk.{i}.'
        norm(b + 'attn_norm', HIDDEN)
        norm(b + 'ffn_norm', HIDDEN)
        norm(b + 'attn_q_norm', HEAD)
        norm(b + 'attn_k_norm', HEAD)
        put(b + 'attn_q', HEADS * HEAD, HIDDEN)
        put(b + 'attn_k', KV_HEADS * HEAD, HIDDEN)
        put(b + 'attn_v', KV_HEADS * HEAD, HIDDEN)
        put(b + 'attn_output', HIDDEN, HEADS * HEAD)
        w.add_tensor(b + 'ffn_gate_inp.weight', random.standard_normal((experts, HIDDEN)).astype(numpy.float32) * 0.05)
        put(b + 'ffn_gate_exps', experts, INNER, HIDDEN)
        put(b + 'ffn_up_exps', experts, INNER, HIDDEN)
        put(b + 'ffn_down_exps', experts, HIDDEN, INNER)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == '__main__':
    main()
