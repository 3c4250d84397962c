// How structs of the C interface grow: one that has a member more than in its first version meets callers of either.
#include <cstring>
#include <string>
#include <vector>

#include "c_api/arguments.hpp"
#include "check.hpp"

struct karec_grown {  // NOLINT(misc-use-internal-linkage): kFirstSize is specialised for it
    std::size_t struct_size;
    std::int64_t first;
    std::int64_t later;
};

namespace karec::c {
template <>
inline constexpr std::size_t kFirstSize<karec_grown> = offsetof(karec_grown, later);
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
        (void)taken(given, "grown");
    } catch (const Refused& refused) {
        return refused.status.message();
    }
    return "";
}

}  // namespace

TEST(a_caller_of_the_first_version_gives_0_for_what_came_later) {
    // Allocated as long as it is, so that a sanitizer sees any look behind.
    const std::vector<First> given = {{sizeof(First), 5}};
    const karec_grown known = taken(as_grown(given[0]), "grown");
    CHECK(known.first == 5 && known.later == 0);
    const std::vector<First> two = {{sizeof(First), 5}, {sizeof(First), 6}};
    CHECK(taken_nth(as_grown(two[0]), 1, "grown").first == 6);
}

TEST(a_caller_of_this_version_is_heard_whole_and_one_of_the_next_where_it_says_0) {
    const karec_grown given{sizeof given, 5, 7};
    CHECK(taken(&given, "grown").later == 7);
    Next next{{sizeof next, 5, 7}, 0};
    CHECK(taken(as_grown(next), "grown").later == 7);
    next.unheard_of = 1;
    CHECK(refusal(as_grown(next)).find("does not know") != std::string::npos);
}

TEST(sizes_of_no_version_are_refused) {
    for (const std::size_t size : {std::size_t{0}, sizeof(First) - 8, sizeof(First) + 1, std::size_t{1} << 40}) {
        const std::vector<karec_grown> given = {{size, 5, 7}};
        CHECK(refusal(given.data()).find("struct_size is " + std::to_string(size)) != std::string::npos);
    }
}

TEST(output_ends_where_the_callers_struct_does) {
    std::vector<First> to = {{sizeof(First), 0}, {99, 99}};
    give(reinterpret_cast<karec_grown*>(to.data()), karec_grown{0, 5, 7});
    CHECK(to[0].struct_size == sizeof(First) && to[0].first == 5 && to[1].struct_size == 99);
}

TEST(first_sizes_are_those_of_interface_version_1) {
    static_assert(sizeof(void*) != 8 || (kFirstSize<karec_matrix> == 48 && kFirstSize<karec_column> == 40 &&
                                         kFirstSize<karec_build_options> == 40 && kFirstSize<karec_index_info> == 64 &&
                                         kFirstSize<karec_query> == 40 && kFirstSize<karec_candidates> == 32 &&
                                         kFirstSize<karec_ranked> == 48 && kFirstSize<karec_search_count> == 40));
    static_assert(sizeof(void*) != 8 ||
                  (kFirstSize<karec_dpp_options> == 88 && kFirstSize<karec_dpp_count> == 32 &&
                   kFirstSize<karec_scatter_rule> == 48 && kFirstSize<karec_scatter_violation> == 32 &&
                   kFirstSize<karec_tensor> == 48 && kFirstSize<karec_tensor_spec> == 216 &&
                   kFirstSize<karec_preranker_options> == 40 && kFirstSize<karec_prerank_request> == 96 &&
                   kFirstSize<karec_preranked> == 40 && kFirstSize<karec_prerank_count> == 48));
}
