// Functions that depend on an instruction set refuse a KAREC_FORCE_ISA that names none.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "karec/dpp.hpp"
#include "karec/freshness.hpp"
#include "karec/item_index.hpp"
#include "karec/mmr_ssd.hpp"
#include "trees/tree_ensemble.hpp"

using namespace karec;

namespace {

bool names_isa(const char* function, const Status& status) {
    const bool is_refused = status.message().find("KAREC_FORCE_ISA names 'sse9'") != std::string::npos;
    if (!is_refused) std::fprintf(stderr, "%s: %s\n", function, status.message().c_str());
    return is_refused;
}

}  // namespace

int main() {
    setenv("KAREC_FORCE_ISA", "sse9", 1);  // NOLINT(concurrency-mt-unsafe): there is one thread
    const std::vector<float> one = {1};
    const std::vector<std::int64_t> time_ms = {0};
    std::vector<std::int64_t> indices(1);
    std::vector<double> gains(1);
    std::vector<float> out(1);
    const MatrixView items{one.data(), 1, 1, DType::float32};
    const Column upload_ms{"upload_ms", DType::int64, std::as_bytes(std::span(time_ms))};
    bool are_refused = names_isa("ItemIndex::build", ItemIndex::build(time_ms, items, {}).status());
    are_refused &= names_isa("dpp_select", dpp_select(items, one, {}, indices, gains).status());
    are_refused &= names_isa("mmr_select", mmr_select(items, one, {}, indices, gains).status());
    are_refused &= names_isa("ssd_select", ssd_select(items, one, {}, indices, gains).status());
    are_refused &= names_isa("freshness", freshness(one, upload_ms, 0, 1.0, 1.0, out));
    are_refused &= names_isa("TreeEnsemble", TreeEnsemble::from_nodes({}, 1, 1).status());
    return are_refused ? 0 : 1;
}
