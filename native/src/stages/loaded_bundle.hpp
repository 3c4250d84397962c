// A bundle as runs use it, and the user's vectors that a run asks its index with.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/vector_map.hpp"
#include "karec/stages.hpp"

namespace karec {

struct LoadedBundle {
    Bundle bundle;
    ItemIndex index;
    std::vector<std::shared_ptr<const UserTower>> towers;  // the bundle's own first; none without ONNX Runtime
    std::vector<std::optional<VectorMap>> maps;            // of each step's vectors; nullopt: as they are
    std::optional<UserEncoder> encoder;                    // nullopt: no towers, or a bundle without one
};

Result<std::shared_ptr<const LoadedBundle>> load_bundle(const std::string& root, const StageSettings& settings,
                                                        const StagesOptions& options);

// Refuses k = 0, recall scores and user vectors of another length or not finite, user vectors of both kinds.
Status check_request(const Request& request, const IndexView& view);

// The user as one query for all rows, or one for each model version. Points into itself: do not move.
struct UserQuery {
    UserQuery() = default;
    UserQuery(const UserQuery&) = delete;
    UserQuery& operator=(const UserQuery&) = delete;

    // From the request; else one pass of each tower whose model version rows of `view` are of, over the request's
    // inputs or those of its user in `scene`. unavailable: no tower is of their versions, or nothing encodes the user.
    Status prepare(const Request& request, std::string_view scene, const LoadedBundle& on, const IndexView& view);

    std::optional<Query> query;  // nullopt: neither a vector nor a tower

  private:
    Status run_towers(std::span<const Tensor> inputs, const LoadedBundle& on, const IndexView& view);
    Status run_encoded(const Request& request, std::string_view scene, const LoadedBundle& on, const IndexView& view);

    ScratchVector<float> values_;
    ScratchVector<VersionQuery> each_;
};

}  // namespace karec
