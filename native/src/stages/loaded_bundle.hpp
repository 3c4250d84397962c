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

struct UserTower {
    OnnxModel model;
    std::optional<CrossWeights> weights;  // nullopt: the tower is not wide
};

struct LoadedBundle {
    Bundle bundle;
    ItemIndex index;
    std::optional<UserEncoder> encoder;          // nullopt: no step reads the encoded user
    std::optional<Ranker> ranker;                // nullopt: no step ranks
    std::vector<UserTower> towers;               // the one of the bundle's own model version first; may be empty
    std::optional<ItemEncoder> items;            // if towers are wide
    std::vector<std::size_t> table_categories;   // if towers are wide: those of the index's code columns
    std::vector<std::optional<VectorMap>> maps;  // for each step, of the vectors that it compares; nullopt: none
};

// Throws only std::bad_alloc. Errors: see Stages::open.
Result<std::shared_ptr<const LoadedBundle>> load_bundle(const std::string& root, const StageSettings& settings,
                                                        const StagesOptions& options);

}  // namespace karec
