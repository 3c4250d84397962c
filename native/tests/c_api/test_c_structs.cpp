// A struct of the C interface that has more members than in its first version: callers of the old and the new size.
#include <cstring>
#include <string>
#include <vector>

#include "c_api/arguments.hpp"
#include "check.hpp"
#include "karec/mmr_ssd.hpp"
#include "karec/stages.hpp"

struct karec_grown {  // NOLINT(misc-use-internal-linkage): kMinStructSize is specialised for it
    std::size_t struct_size;
    std::int64_t first;
    std::int64_t later;
};

namespace karec::c {
template <>
inline constexpr std::size_t kMinStructSize<karec_grown> = offsetof(karec_grown, later);
}  // namespace karec::c

using namespace karec::c;

namespace {

struct First {
    std::size_t struct_size;
    std::int64_t first;
};
struct Next {
    karec_grown grown;
    std::int64_t unheard_of;
};

template <class T>
const karec_grown* as_grown(const T& given) {
    return reinterpret_cast<const karec_grown*>(&given);
}

std::string refusal(const karec_grown* given) {
    try {
        (void)read_struct(given, "grown");
    } catch (const ArgumentError& refused) {
        return refused.status.message();
    }
    return "";
}

}  // namespace

TEST(missing_members_of_a_shorter_struct_are_0) {
    // On the heap in its exact size: AddressSanitizer detects a read after its end.
    const std::vector<First> given = {{sizeof(First), 5}};
    const karec_grown known = read_struct(as_grown(given[0]), "grown");
    CHECK(known.first == 5 && known.later == 0);
    const std::vector<First> two = {{sizeof(First), 5}, {sizeof(First), 6}};
    CHECK(read_nth_struct(as_grown(two[0]), 1, "grown").first == 6);
}

TEST(struct_is_read_if_its_unknown_members_are_0) {
    const karec_grown given{sizeof given, 5, 7};
    CHECK(read_struct(&given, "grown").later == 7);
    Next next{{sizeof next, 5, 7}, 0};
    CHECK(read_struct(as_grown(next), "grown").later == 7);
    next.unheard_of = 1;
    CHECK(refusal(as_grown(next)).find("does not have") != std::string::npos);
}

TEST(struct_sizes_of_unknown_versions_are_refused) {
    for (const std::size_t size : {std::size_t{0}, sizeof(First) - 8, sizeof(First) + 1, std::size_t{1} << 40}) {
        const std::vector<karec_grown> given = {{size, 5, 7}};
        CHECK(refusal(given.data()).find("struct_size is " + std::to_string(size)) != std::string::npos);
    }
}

TEST(output_struct_is_truncated_to_the_size_of_the_caller) {
    std::vector<First> to = {{sizeof(First), 0}, {99, 99}};
    write_struct(reinterpret_cast<karec_grown*>(to.data()), karec_grown{0, 5, 7});
    CHECK(to[0].struct_size == sizeof(First) && to[0].first == 5 && to[1].struct_size == 99);
}

// As C99 they are compiled by test_initialisers.c.
TEST(initialisers_set_the_size_and_the_defaults_of_the_cpp_api) {
    const karec_dpp_options dpp = KAREC_DPP_OPTIONS_INIT;
    const karec::DppOptions defaults;
    CHECK(dpp.struct_size == sizeof dpp && dpp.alpha == defaults.alpha && dpp.ridge == defaults.ridge);
    CHECK(dpp.type_weight == defaults.type_weight && dpp.min_per_type == defaults.min_per_type);
    CHECK(dpp.fill == (defaults.fill == karec::DppFill::relevance ? 1 : 0) && dpp.window == 0 && dpp.max_per_type == 0);
    CHECK(dpp.weights == nullptr && dpp.types == nullptr && dpp.shown == nullptr);
    CHECK(dpp.n_facets == 0 && dpp.facets == nullptr && dpp.facet_weights == nullptr && dpp.shown_facets == nullptr);
    const karec_mmr_ssd_options marginal = KAREC_MMR_SSD_OPTIONS_INIT;
    CHECK(marginal.struct_size == sizeof marginal && marginal.diversity == karec::MmrSsdOptions{}.diversity);
    CHECK(marginal.shown == nullptr && marginal.window == 0 && marginal.n_facets == 0 && marginal.facets == nullptr);
    CHECK(marginal.facet_weights == nullptr && marginal.shown_facets == nullptr);
    const karec_build_options build = KAREC_BUILD_OPTIONS_INIT;
    const karec::ItemIndex::BuildOptions built;
    CHECK(build.dtype == static_cast<karec_dtype>(built.dtype) && (build.rescore != 0) == built.rescore);
    CHECK(build.model_version == built.model_version && build.n_columns == 0);
    const karec_open_options open = KAREC_OPEN_OPTIONS_INIT;
    const karec::ItemIndex::OpenOptions opened;
    CHECK((open.trust == 0) == opened.verify && (open.copy != 0) == opened.copy);
    const karec_stages_options stages = KAREC_STAGES_OPTIONS_INIT;
    const karec::StagesOptions stages_defaults;
    CHECK((stages.trust == 0) == stages_defaults.verify && stages.onnxruntime == nullptr);
    CHECK(stages.on_step == nullptr && stages.context == nullptr);
    const karec_request request = KAREC_REQUEST_INIT;
    CHECK(request.k == karec::Request{}.k && request.time_ms == karec::Request{}.time_ms);
    CHECK(request.struct_size == sizeof request && request.user_vector == nullptr && request.n_shown == 0);
    const karec_matrix matrix = KAREC_MATRIX_INIT;
    CHECK(matrix.struct_size == sizeof matrix && matrix.dtype == KAREC_FLOAT32);
}

TEST(structs_of_interface_version_1_are_accepted) {
    static_assert(sizeof(void*) != 8 ||
                  (kMinStructSize<karec_matrix> == 40 && kMinStructSize<karec_column> == 40 &&
                   kMinStructSize<karec_build_options> == 56 && kMinStructSize<karec_open_options> == 16 &&
                   kMinStructSize<karec_index_info> == 64 && kMinStructSize<karec_query> == 56 &&
                   kMinStructSize<karec_candidates> == 32 && kMinStructSize<karec_ranked> == 48 &&
                   kMinStructSize<karec_search_count> == 40 && kMinStructSize<karec_code_table> == 40));
    static_assert(sizeof(void*) != 8 ||
                  (kMinStructSize<karec_dpp_options> == 120 && kMinStructSize<karec_mmr_ssd_options> == 64 &&
                   kMinStructSize<karec_dpp_count> == 32));
}
