// The parts of a bundle that the steps of exported stages read.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diversity/vector_map.hpp"
#include "karec/stages.hpp"
#include "onnx/onnx_model.hpp"
#include "stages/ranker.hpp"
#include "stages/stage_settings.hpp"

namespace karec {

struct LoadedBundle {
    Bundle bundle;
    ItemIndex index;
    std::optional<UserEncoder> encoder;          // nullopt: no step reads the encoded user
    std::optional<Ranker> ranker;                // nullopt: no step ranks
    std::vector<OnnxModel> towers;               // the one of the bundle's own model version first; may be empty
    std::vector<std::optional<VectorMap>> maps;  // for each step, of the vectors that it compares; nullopt: none
};

// Throws only std::bad_alloc. Errors: see Stages::open.
Result<std::shared_ptr<const LoadedBundle>> load_bundle(const std::string& root, const StageSettings& settings,
                                                        const StagesOptions& options);

}  // namespace karec
