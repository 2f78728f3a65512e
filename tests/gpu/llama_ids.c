/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llama_ids MODEL [TRUTH]: a prompt and greedy steps on llama.cpp; prints the tokens. With TRUTH every router's ids are
 * written: int32 layer, rows, k, then the ids. They are taken in the library's own callback behind the experts' last
 * product, which reads them: asked for at the router itself, the graph would be cut there and its kernels not fused.
 * Built by llama.sh; knows nothing of moetap.
 */
#include <ggml-backend.h>
#include <llama.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 45, STEPS = 24 };

static bool on_node(struct ggml_tensor *t, bool ask, void *user)
{
    int32_t head[3];
    if (t->op != GGML_OP_MUL_MAT_ID || sscanf(t->name, "ffn_moe_down-%d", &head[0]) != 1)
        return !ask;
    if (ask)
        return true;
    t = t->src[2]; /* its topk_ids */
    head[1] = (int32_t) t->ne[1];
    head[2] = (int32_t) t->ne[0];
    const size_t bytes = ggml_nbytes(t);
    char *data = malloc(bytes);
    if (!data)
        return false;
    ggml_backend_tensor_get(t, data, 0, bytes);
    fwrite(head, sizeof head, 1, user);
    for (int32_t row = 0; row < head[1]; row++)
        fwrite(data + (size_t) row * t->nb[1], sizeof(int32_t), (size_t) head[2], user);
    free(data);
    return true;
}

static llama_token best(struct llama_context *context, int32_t vocabulary)
{
    const float *logits = llama_get_logits_ith(context, -1);
    int32_t found = 0;
    for (int32_t i = 1; i < vocabulary; i++)
        found = logits[i] > logits[found] ? i : found;
    return found;
}

int main(int argc, char **argv)
{
    FILE *truth = argc > 2 ? fopen(argv[2], "wb") : NULL;
    if (argc < 2 || (argc > 2 && !truth)) {
        fprintf(stderr, "usage: llama_ids MODEL [TRUTH]\n");
        return 2;
    }
    ggml_backend_load_all();
    struct llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 99;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_batch = params.n_ubatch = 512;
    if (truth) {
        params.cb_eval = on_node;
        params.cb_eval_user_data = truth;
    }
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    if (!context)
        return 1;
    const int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_token tokens[PROMPT + STEPS];
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = (int32_t) ((unsigned) (i * 2654435761u + 12345u) % (unsigned) vocabulary);
    int done = 0, count = PROMPT;
    while (count < PROMPT + STEPS) {
        if (llama_decode(context, llama_batch_get_one(tokens + done, count - done)) != 0)
            return 1;
        done = count;
        tokens[count++] = best(context, vocabulary);
    }
    for (int i = PROMPT; i < count; i++)
        printf("%d ", tokens[i]);
    printf("\n");
    llama_free(context);
    llama_model_free(model);
    return truth && fclose(truth) != 0;
}
