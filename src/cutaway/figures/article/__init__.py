"""The article's figures, one module for each topic, in the article's order:

1. `part1_language_model` F01 F02 F04, `part1_model_sizes` F03 F07 F14 F15, `part1_transformer_blocks` F05 F06 F10 F11,
   `part1_autoregression` F08 F09, `part1_masking` F12 F13, `part1_looking_inside` F16 F17, `part1_greedy_decoding` T1,
   `part1_embeddings` F18-F21 F29, `part1_self_attention` F22, `part1_query_key_value` F23-F25, `part1_model_output` F26
   F27, `part1_sampling` F28, `part1_simplifications` T2-T4
2. `part2_self_attention` F30 F31 F35, `part2_three_steps` F32-F34, `part2_masked_self_attention` F36 F37,
   `part2_attention_matrices` F38-F40, `part2_kv_cache` F41-F43, `part2_query_key_value` F44-F46, `part2_heads` F47 F48
   F52, `part2_score_and_sum` F49-F51, `part2_projection_and_mlp` F53-F56, `part2_parameters` F57-F59
3. `part3_translation` F60, `part3_summaries` F61 F62, `part3_transfer` T5, `part3_music_events` F63-F65,
   `part3_music_attention` F66

Several modules share `article_numbers` (the numbers that the article prints), `excerpts` (parts of tensors as cells),
`layer_norm` and `decoding`.
"""
