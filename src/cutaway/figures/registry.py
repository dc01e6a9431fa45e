"""The registry: all figures in the article's order, and look-up by id."""

from cutaway.errors import UsageError
from cutaway.figures.article import (
    part1_autoregression,
    part1_embeddings,
    part1_greedy_decoding,
    part1_language_model,
    part1_looking_inside,
    part1_masking,
    part1_model_output,
    part1_model_sizes,
    part1_query_key_value,
    part1_sampling,
    part1_self_attention,
    part1_simplifications,
    part1_transformer_blocks,
    part2_attention_matrices,
    part2_heads,
    part2_kv_cache,
    part2_masked_self_attention,
    part2_parameters,
    part2_projection_and_mlp,
    part2_query_key_value,
    part2_score_and_sum,
    part2_self_attention,
    part2_three_steps,
    part3_music_attention,
    part3_music_events,
    part3_summaries,
    part3_transfer,
    part3_translation,
)
from cutaway.figures.figure import Figure

MODULES = (  # in the order of their first figures
    part1_language_model,
    part1_model_sizes,
    part1_transformer_blocks,
    part1_autoregression,
    part1_masking,
    part1_looking_inside,
    part1_greedy_decoding,
    part1_embeddings,
    part1_self_attention,
    part1_query_key_value,
    part1_model_output,
    part1_sampling,
    part1_simplifications,
    part2_self_attention,
    part2_three_steps,
    part2_masked_self_attention,
    part2_attention_matrices,
    part2_kv_cache,
    part2_query_key_value,
    part2_heads,
    part2_score_and_sum,
    part2_projection_and_mlp,
    part2_parameters,
    part3_translation,
    part3_summaries,
    part3_transfer,
    part3_music_events,
    part3_music_attention,
)


def all_figures() -> dict[str, Figure]:
    """List all figures by id, in the article's order.

    >>> list(all_figures())[:3]
    ['F01', 'F02', 'F03']
    """
    listed = [figure for module in MODULES for figure in module.FIGURES]
    return {figure.id: figure for figure in sorted(listed, key=lambda figure: (figure.part, _order(figure.id)))}


def _order(figure_id: str) -> tuple[int, int]:
    """Order F01 to F66 by number; T1 to T5 follow the figures that they belong to."""
    after = {"T1": 17, "T2": 28, "T3": 28, "T4": 28, "T5": 62}
    number = int(figure_id[1:])
    return (after[figure_id], number) if figure_id in after else (number, 0)


def find_figure(figure_id: str) -> Figure:
    """Look a figure up by its id, in any case. Raises UsageError for an unknown id.

    >>> find_figure("f40").title.en
    'Softmax: scores become weights'
    """
    figure = all_figures().get(str(figure_id).upper())
    if figure is None:
        raise UsageError(f"unknown figure: {figure_id!r:.20}; they are F01 to F66 and T1 to T5 (cutaway figure --list)")
    return figure
