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

TEST(id_map_finds_every_id_and_no_other) {
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

namespace {

// Ids whose home, among so many buckets, is the bucket `home`.
std::vector<std::int64_t> ids_of_bucket(std::size_t home, std::size_t n_buckets, std::size_t n) {
    std::vector<std::int64_t> ids;
    for (std::int64_t id = -1000; ids.size() < n; ++id) {
        if (home_bucket(id, n_buckets) == home) ids.push_back(id);
    }
    return ids;
}

}  // namespace

TEST(id_map_finds_ids_that_share_one_home_bucket) {
    constexpr std::size_t kIds = 600;
    const std::size_t n_buckets = id_bucket_count(kIds);
    for (const std::size_t home : {std::size_t{0}, n_buckets - 2, n_buckets - 1}) {  // the last two go round the end
        const std::vector<std::int64_t> ids = ids_of_bucket(home, n_buckets, kIds);
        IdMap map(kIds);
        for (std::size_t i = 0; i < kIds; ++i) CHECK(map.put(ids[i], static_cast<std::int32_t>(i)) == -1);
        CHECK(map.buckets().size() == n_buckets);
        std::vector<std::int64_t> wanted = ids;
        const std::vector<std::int64_t> others = ids_of_bucket(home, n_buckets, kIds + 50);
        wanted.insert(wanted.end(), others.begin() + kIds, others.end());  // as far away, and not there
        std::vector<std::int32_t> rows(wanted.size());
        map.find(wanted, rows.data());
        for (std::size_t i = 0; i < wanted.size(); ++i)
            CHECK(rows[i] == (i < kIds ? static_cast<std::int32_t>(i) : -1));
    }
}

TEST(lookup_reads_at_most_max_probes_buckets) {
    const std::size_t n_buckets = id_bucket_count(90);
    const std::vector<std::int64_t> ids = ids_of_bucket(3, n_buckets, 40);  // eight buckets full
    IdMap map(90);
    for (std::size_t i = 0; i < ids.size(); ++i) map.put(ids[i], static_cast<std::int32_t>(i));
    for (std::size_t most = 1; most <= 9; ++most) {
        IdLookup lookup(map, ids, most);
        std::vector<std::int32_t> rows(IdLookup::kBlock);
        CHECK(lookup.next(rows.data()) == ids.size() && lookup.next(rows.data()) == 0);
        for (std::size_t i = 0; i < ids.size(); ++i) {
            CHECK(rows[i] == (i < most * IdBucket::kSlots ? static_cast<std::int32_t>(i) : -1));
        }
    }
}

TEST(removed_id_is_not_found_if_a_free_slot_has_its_value) {
    IdMap map(3);
    for (const std::int64_t id : {7, 0, 8}) map.put(id, static_cast<std::int32_t>(id));
    CHECK(map.take(8) == 8 && map.take(0) == 0);  // free slots of the bucket have the value 0
    const std::vector<std::int64_t> wanted = {0, 7, 8};
    std::vector<std::int32_t> rows(3);
    map.find(wanted, rows.data());
    CHECK((rows == std::vector<std::int32_t>{-1, 7, -1}));
}

TEST(id_map_equals_a_dictionary_during_insertions_and_removals) {
    std::mt19937_64 random(8);
    std::unordered_map<std::int64_t, std::int32_t> expected;
    IdMap map;
    for (std::int32_t step = 0; step < 200'000; ++step) {
        const auto id = static_cast<std::int64_t>(random() % 5000);
        const auto before = expected.find(id);
        const std::int32_t row = before == expected.end() ? -1 : before->second;
        CHECK(map.find(id) == row);
        if (random() % 2 == 0) {
            map.reserve(expected.size() + 1);
            CHECK(map.put(id, step) == row);
            expected[id] = step;
        } else {
            CHECK(map.take(id) == row);
            expected.erase(id);
        }
    }
}

TEST(damaged_id_map_ends_its_lookup_and_is_detected) {
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
    // A bucket with more ids than it has slots: the bytes after them are not ids.
    for (const std::uint16_t count : {std::uint16_t{6}, std::uint16_t{32}, std::uint16_t{0xFFFF}}) {
        for (IdBucket& bucket : full) bucket.count = count;
        for (const std::int64_t id : {std::int64_t{-1}, std::int64_t{7}}) {
            map.find({&id, 1}, &row);
            CHECK(row == -1);
        }
    }
}
