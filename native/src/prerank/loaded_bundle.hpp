// A bundle as runs use it, and the user's vectors that a run asks its index with.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/vector_map.hpp"
#include "karec/prerank.hpp"

namespace karec {

struct LoadedBundle {
    Bundle bundle;
    ItemIndex index;
    std::vector<std::shared_ptr<const UserTower>> towers;  // the bundle's own first; none without ONNX Runtime
    std::vector<std::optional<VectorMap>> maps;            // of each step's vectors; nullopt: as they are
};

Result<std::shared_ptr<const LoadedBundle>> load_bundle(const std::string& root, const PrerankSettings& settings,
                                                        const PreRankerOptions& options);

// Refuses k = 0, recall scores and user vectors of another length or not finite, user vectors of both kinds.
Status check_request(const PrerankRequest& request, const IndexView& view);

// The user as one query for all rows, or one for each model version. Points into itself: do not move.
struct UserQuery {
    UserQuery() = default;
    UserQuery(const UserQuery&) = delete;
    UserQuery& operator=(const UserQuery&) = delete;

    // From the request; else one pass of each tower whose model version rows of `view` are of. unavailable: no tower is
    // of their versions.
    Status prepare(const PrerankRequest& request, const LoadedBundle& on, const IndexView& view);

    std::optional<Query> query;  // nullopt: neither a vector nor a tower

  private:
    Status run_towers(const PrerankRequest& request, const LoadedBundle& on, const IndexView& view);

    ScratchVector<float> values_;
    ScratchVector<VersionQuery> each_;
};

}  // namespace karec
