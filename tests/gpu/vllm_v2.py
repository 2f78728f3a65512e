# SPDX-License-Identifier: Apache-2.0
"""Routed experts of vLLM's V2 model runner (0.24), which does not return them itself: its own capturer, as the V1 model runner has it,
and what each request attended to, by the slots of its blocks. The engine must run in this process, and waits for each pass."""
import numpy


def watch():
    """Before the engine is made; truth() of what it returns tells a request's rows [tokens, layers, k]."""
    from vllm.model_executor.layers.fused_moe.layer import MoERunner
    from vllm.model_executor.layers.fused_moe.routed_experts_capturer import RoutedExpertsCapturer
    from vllm.model_executor.layers.fused_moe.router.base_router import BaseRouter
    from vllm.v1.kv_cache_interface import FullAttentionSpec
    from vllm.v1.worker.gpu.model_runner import GPUModelRunner
    seen = {'passes': 0, 'of_slot': {}, 'of_request': {}}
    make_cache, execute = GPUModelRunner.initialize_kv_cache, GPUModelRunner.execute_model

    def initialize_kv_cache(runner, config, *args, **more):
        make_cache(runner, config, *args, **more)
        # A group of layers that attend to a window lets go of blocks.
        full = [i for i, group in enumerate(config.kv_cache_groups) if isinstance(group.kv_cache_spec, FullAttentionSpec)]
        seen['group'] = full[0] if full else 0
        runner.capturer = RoutedExpertsCapturer(runner.max_num_tokens, runner.vllm_config)
        for module in runner.compilation_config.static_forward_context.values():
            if isinstance(module, MoERunner) and isinstance(module.router, BaseRouter):
                module.router.set_capture_fn(lambda ids, layer=module.layer_id: runner.capturer.capture(layer, ids))

    def execute_model(runner, scheduled, *args, dummy_run=False, **more):
        result = execute(runner, scheduled, *args, dummy_run=dummy_run, **more)
        state = runner.execute_model_state
        if state is not None and not dummy_run:
            keep(runner, state.input_batch)
        return result

    def keep(runner, batch):
        seen['passes'] += 1
        rows, tables, of_slot, group = batch.num_tokens, runner.block_tables, seen['of_slot'], seen['group']
        experts = runner.capturer.device_buffer[:rows].cpu().numpy()
        slots, positions = tables.slot_mappings[group, :rows].cpu().numpy(), batch.positions[:rows].cpu().numpy()
        of_slot.update(zip(slots.tolist(), experts))
        block, blocks = tables.kernel_block_sizes[group], tables.block_tables[group].gpu.cpu().numpy()
        for i, name in enumerate(batch.req_ids):
            end = int(positions[batch.query_start_loc_np[i + 1] - 1]) + 1
            table = blocks[batch.idx_mapping_np[i]]
            seen['of_request'][name] = [of_slot[int(table[p // block]) * block + p % block] for p in range(end)]

    GPUModelRunner.initialize_kv_cache, GPUModelRunner.execute_model = initialize_kv_cache, execute_model
    return seen


def truth(seen, request, tokens):
    """Its name within the engine is longer than outside."""
    names = [name for name in seen['of_request'] if name == request or name.startswith(request + '-')]
    assert len(names) == 1, names
    return numpy.array(seen['of_request'][names[0]])[:tokens]
