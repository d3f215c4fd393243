#include "model/block.h"
#include "model/loader.h"

namespace flyball::model {
namespace {

constexpr Str output_name = "output.weight";

void load_rope_factors(Loader& loader, const Config& config, Weights& weights) {
  const u32 pairs = config.n_rot / 2;
  if (config.long_rope || config.architecture == Architecture::phi3 || config.architecture == Architecture::phimoe) {
    if (loader.has("rope_factors_long.weight") != loader.has("rope_factors_short.weight"))
      loader.fail_with(fail(Code::corrupt, "rope_factors_long.weight") << "long and short factors must come together");
    weights.rope_factors_long = loader.vector("rope_factors_long.weight", pairs, false);
    weights.rope_factors_short = loader.vector("rope_factors_short.weight", pairs, false);
  } else if (config.architecture == Architecture::llama || config.architecture == Architecture::llama4 ||
             config.architecture == Architecture::mistral3 || config.architecture == Architecture::exaone4 ||
             config.architecture == Architecture::gemma4) {
    weights.rope_factors = loader.vector("rope_freqs.weight", pairs, false);
  }
}

// phimoe's norms have biases.
Norm load_norm(Loader& loader, const Config& config, Str weight, Str bias) {
  const bool biased = config.architecture == Architecture::phimoe;
  return {loader.vector(weight, config.n_embd, true), biased ? loader.vector(bias, config.n_embd, true) : nullptr};
}

Status read_weights(Loader& loader, Arena& arena, const Config& config, Weights* out) {
  Weights& weights = *out;
  weights.layers = arena.allocate<Layer>(config.n_layer());
  if (weights.layers.empty())
    return fail(Code::out_of_memory, "layers") << "no memory for " << config.n_layer() << " layers";

  weights.embedding = loader.find(embedding_name, config.n_embd, config.n_vocab, true);
  if (config.embedding_norm) weights.embedding_norm = loader.constant(1, config.n_embd);
  if (config.n_embd_per_layer != 0) load_layer_inputs(loader, config, weights.inputs);
  if (config.streams) load_all_streams(loader, config, weights.streams);
  for (u32 i = 0; i < config.n_layer() && loader.status().ok(); ++i) {
    Layer& layer = weights.layers[i] = Layer();
    const LayerShape& shape = config.layers[i];
    const Mixer mixer = shape.mixer;
    const bool one_norm = config.parallel || config.single_blocks;
    if (config.pre_norms) {
      layer.attention_norm =
          load_norm(loader, config, LayerName(i, "attn_norm.weight"), LayerName(i, "attn_norm.bias"));
      layer.ffn_norm = one_norm
                           ? layer.attention_norm
                           : load_norm(loader, config, LayerName(i, config.ffn_norm), LayerName(i, "ffn_norm.bias"));
    }
    if (mixer == Mixer::attention) load_attention(loader, config, i, layer.attention);
    if (mixer == Mixer::latent_attention) load_latent_attention(loader, config, i, layer.latent);
    if (is_recurrent(mixer)) load_recurrent(loader, config, i, layer.recurrent);
    if (config.layers[i].n_expert != 0) load_experts(loader, config, i, layer.experts);
    if (config.layers[i].dense_ff() != 0) load_feed_forward(loader, config, i, layer.feed_forward);
    if (config.post_norms) {
      layer.attention_post_norm = loader.vector(LayerName(i, "post_attention_norm.weight"), config.n_embd, true);
      layer.ffn_post_norm = loader.vector(LayerName(i, "post_ffw_norm.weight"), config.n_embd, true);
    }
    if (config.n_embd_per_layer != 0) load_layer_input(loader, config, i, layer.input);
    if (config.streams) load_streams(loader, config, i, layer.streams);
    if (config.laurel_rank != 0) load_laurel(loader, config, i, layer.laurel);
    if (config.architecture == Architecture::gemma4)
      layer.output_scale = loader.vector(LayerName(i, "layer_output_scale.weight"), 1, false);
  }
  const bool lfm2 = config.architecture == Architecture::lfm2 || config.architecture == Architecture::lfm2moe;
  weights.output_norm =
      load_norm(loader, config, lfm2 ? "token_embd_norm.weight" : "output_norm.weight", "output_norm.bias");
  const bool tied = !loader.has(output_name) || config.tied_output;
  weights.output = loader.matrix(tied ? embedding_name : output_name, config.n_embd, config.n_vocab);
  weights.output_bias = loader.vector("output.bias", config.n_vocab, false);
  load_rope_factors(loader, config, weights);
  return loader.status();
}

// Input scales are for kernels that quantize activations by them; vision parts make embeddings of images; blocks behind
// the layers draft tokens.
bool is_ignorable(Str name, const Config& config) {
  for (u32 block = config.n_layer(); block < config.n_blocks; ++block) {
    if (name.starts_with(LayerName(block, ""))) return true;
  }
  return name.ends_with(".input_scale") || name.starts_with("v.") || name.starts_with("mm.");
}

// Drafts are also published without the layers that they belong to.
Status refuse_drafts_alone(const gguf::File& file, const Config& config) {
  const gguf::Tensor* draft = nullptr;
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (tensor.name.starts_with(LayerName(0, ""))) return {};
    if (config.n_blocks > config.n_layer() && tensor.name.starts_with(LayerName(config.n_layer(), ""))) draft = &tensor;
  }
  if (!draft) return {};
  return fail(Code::unsupported, draft->name, draft->offset)
         << "drafts tokens for a model in another file, and this one has no layers to run: load the model's own file";
}

Error refuse_unused(const gguf::Tensor& tensor, const Config& config) {
  ErrorBuilder error = fail(Code::unsupported, tensor.name, tensor.offset);
  for (u32 layer = config.n_blocks; layer < max_layers; ++layer) {
    if (!tensor.name.starts_with(LayerName(layer, ""))) continue;
    return error << "belongs to layer " << layer << ", but " << config.architecture_name << ".block_count says "
                 << config.n_blocks << " layers";
  }
  return error << "is not a tensor that Flyball's " << config.architecture_name
               << " uses or may ignore, so the model's answers would be other than its author's";
}

bool is_looked_up(Str name) { return name.ends_with("token_embd.weight"); }  // row by row, in the file

void count(const gguf::Tensor& tensor, const Config& config, bool is_output, Needs& needs) {
  if (is_looked_up(tensor.name)) needs.token_bytes += tensor.data.size / tensor.rows();
  if (is_looked_up(tensor.name) && !is_output) return;
  const u64 n_rows = tensor.shape[1], n_matrices = tensor.shape[2] * tensor.shape[3];
  const u64 one = tensor.n_dims < 2 ? tensor.cols() * sizeof(f32)
                                    : kernels::packed_group_bytes(tensor.type, u32(tensor.cols())) *
                                          divide_up(n_rows, u64(kernels::group_rows));
  u64 n_read = n_matrices;
  for (u32 i = 0; i < config.n_layer() && tensor.name.ends_with("_exps.weight"); ++i) {
    if (tensor.name.starts_with(LayerName(i, ""))) n_read = config.layers[i].n_expert_used;
  }
  needs.weight_bytes += one * n_matrices;
  needs.token_bytes += one * n_read;
}

// Every tensor is used or may be ignored; one that is neither would have changed the answers.
Status check_weights(const Platform& platform, const gguf::File& file, const Config& config, MatrixVisitor visitor = {},
                     Needs* needs = nullptr, u64 in_file = 0) {
  Arena scratch(platform);
  const Span<const gguf::Tensor> tensors = file.tensors();
  const Span<u8> used = scratch.allocate<u8>(tensors.size + 1);  // never empty
  if (used.empty()) return fail(Code::out_of_memory, "tensors") << "no memory to check " << tensors.size << " tensors";
  Loader loader(scratch, platform, file, used, visitor, in_file);
  Weights weights;
  FLYBALL_TRY(refuse_drafts_alone(file, config));
  const bool tied = !loader.has(output_name) || config.tied_output;
  FLYBALL_TRY(read_weights(loader, scratch, config, &weights));
  if (needs) {
    needs->packed_bytes = loader.matrix_bytes();
    needs->in_file_bytes = loader.in_file_bytes();
    needs->packed_order = loader.packed_order();
  }
  for (u64 i = 0; i < tensors.size; ++i) {
    if (!used[i] && !is_ignorable(tensors[i].name, config)) return refuse_unused(tensors[i], config);
    if (used[i] && needs) count(tensors[i], config, tied && tensors[i].name == embedding_name, *needs);
  }
  return {};
}

}  // namespace

Status check_model(const Platform& platform, const gguf::File& file, u32 n_vocab) {
  Config config;
  Arena arena(platform);
  FLYBALL_ASSIGN(config, read_config(arena, file, n_vocab));
  return check_weights(platform, file, config);
}

Status visit_matrices(const Platform& platform, const gguf::File& file, const Config& config, MatrixVisitor visitor) {
  return check_weights(platform, file, config, visitor);
}

Result<Needs> needs_of(const Platform& platform, const gguf::File& file, const Config& config, u64 in_file) {
  Needs needs;
  FLYBALL_TRY(check_weights(platform, file, config, {}, &needs, in_file));
  return needs;
}

Result<Weights> load_weights(Arena& arena, const Platform& platform, const gguf::File& file, const Config& config,
                             PackedRoom room, u32 threads, LoadProgress progress) {
  FLYBALL_TRY(check_weights(platform, file, config));
  Loader loader(arena, platform, file, room, threads, progress);
  Weights weights;
  FLYBALL_TRY(read_weights(loader, arena, config, &weights));
  weights.matrix_bytes = loader.matrix_bytes();
  weights.in_file_bytes = loader.in_file_bytes();
  return weights;
}

}  // namespace flyball::model
