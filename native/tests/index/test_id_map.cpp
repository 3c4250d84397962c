// The id map against std::unordered_map, and with damaged buckets.
#include <algorithm>
#include <numeric>
#include <random>
#include <unordered_map>
#include <vector>

#include "check.hpp"
#include "index/id_map.hpp"
#include "karec/item_index.hpp"

using namespace karec;

TEST(the_id_map_finds_every_id_and_no_other) {
    std::mt19937_64 random(2);
    for (const std::size_t n : {0u, 1u, 5u, 1000u}) {
        std::vector<std::int64_t> ids(n);
        for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(random() & ~1u);
        IdMap map(n);
        for (std::size_t i = 0; i < n; ++i) CHECK(map.put(ids[i], static_cast<std::int32_t>(i)) == -1);
        CHECK(map.buckets().size() == id_bucket_count(n) && map.matches(ids));
        std::vector<std::int64_t> absent = ids;
        for (std::int64_t& id : absent) id |= 1;
        std::vector<std::int32_t> rows(n);
        map.find(absent, rows.data());
        CHECK(std::all_of(rows.begin(), rows.end(), [](std::int32_t row) { return row == -1; }));
    }
}

TEST(the_id_map_stays_a_dictionary_while_ids_come_and_go) {
    std::mt19937_64 random(8);
    std::unordered_map<std::int64_t, std::int32_t> expected;
    IdMap map;
    for (std::int32_t step = 0; step < 200'000; ++step) {
        const auto id = static_cast<std::int64_t>(random() % 5000);
        const auto before = expected.find(id);
        const std::int32_t row = before == expected.end() ? -1 : before->second;
        CHECK(map.find(id) == row);
        if (random() % 2 == 0) {
            map.make_room(expected.size() + 1);
            CHECK(map.put(id, step) == row);
            expected[id] = step;
        } else {
            CHECK(map.take(id) == row);
            expected.erase(id);
        }
    }
}

TEST(a_corrupt_id_map_ends_its_search_and_is_noticed) {
    std::vector<IdBucket> full(4);
    for (IdBucket& bucket : full) {
        std::memset(&bucket, 0xFF, sizeof bucket);
        bucket.overflowed = 1;
    }
    const std::vector<std::int64_t> wanted = {7};
    std::int32_t row = 0;
    IdMap map;
    map.map(nullptr, full);
    map.find(wanted, &row);
    CHECK(row == -1);
    CHECK(!map.matches(wanted));
}
