// Arrays that another thread writes to while a call reads them: any result, but no access outside the index.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"

// ThreadSanitizer reports a read of memory that another thread writes. That race is a mistake of the caller.
#if !defined(__SANITIZE_THREAD__)

namespace {

constexpr std::size_t kRows = 100;
constexpr std::size_t kEntries = 100'000;
constexpr int kCalls = 100;

karec::ItemIndex small_index() {
    std::vector<std::int64_t> ids(kRows);
    for (std::size_t i = 0; i < kRows; ++i) ids[i] = static_cast<std::int64_t>(i);
    const std::vector<float> vectors(kRows * 4, 1.0f);
    const karec::Column column{"creator", karec::DType::int64, std::as_bytes(std::span(ids))};
    karec::ItemIndex::BuildOptions options;
    options.columns = {&column, 1};
    return std::move(karec::ItemIndex::build(ids, {vectors.data(), kRows, 4, karec::DType::float32}, options).value());
}

// call() again and again while another thread sets the last of `values` to a and b in turn.
template <class T, class Call>
void while_changing(std::vector<T>& values, T a, T b, const Call& call) {
    std::atomic<bool> is_over{false};
    std::thread writer([&] {
        const std::atomic_ref<T> last(values.back());
        while (!is_over) {
            last.store(a, std::memory_order_relaxed);
            last.store(b, std::memory_order_relaxed);
        }
    });
    for (int i = 0; i < kCalls; ++i) call();
    is_over = true;
    writer.join();
}

}  // namespace

TEST(gathers_stay_in_bounds_if_rows_change) {
    const karec::ItemIndex index = small_index();
    std::vector<std::int32_t> rows(kEntries, 3);
    std::vector<float> vectors(kEntries * 4);
    std::vector<std::int64_t> creators(kEntries);
    while_changing(rows, std::int32_t{5}, INT32_MAX, [&] {
        const karec::Status vector_status = index.pinned().gather(rows, vectors);
        const karec::Status status =
            index.pinned().gather_column("creator", rows, std::as_writable_bytes(std::span(creators)));
        CHECK(vector_status.ok() || vector_status.code() == karec::Code::invalid_argument);
        CHECK(status.ok() || status.code() == karec::Code::invalid_argument);
    });
}

TEST(remove_leaves_the_index_complete_if_ids_change) {
    karec::ItemIndex index = small_index();
    std::vector<std::int64_t> ids(kEntries, 1000);
    while_changing(ids, std::int64_t{7}, std::int64_t{8}, [&] {
        const auto unknown = index.remove(ids);
        CHECK(unknown.ok());
        const std::int64_t back[] = {7, 8};
        const float vectors[8] = {};
        const karec::Column column{"creator", karec::DType::int64, std::as_bytes(std::span(back))};
        CHECK(index.upsert(back, {vectors, 2, 4, karec::DType::float32}, {&column, 1}, 0).ok());
        CHECK(index.pinned().size() == kRows);
        std::int32_t rows[2];
        std::int64_t creators[2];
        const karec::IndexView view = index.pinned();
        CHECK(view.lookup(back, rows).ok() && rows[0] != rows[1]);
        CHECK(view.gather_column("creator", rows, std::as_writable_bytes(std::span(creators))).ok());
        CHECK(creators[0] == 7 && creators[1] == 8);
    });
}

TEST(build_and_upsert_store_no_nan_if_vectors_change) {
    constexpr std::size_t kDim = 64;
    std::vector<std::int64_t> ids(1000);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
    for (const karec::DType dtype : {karec::DType::float32, karec::DType::float16, karec::DType::int8}) {
        std::vector<float> vectors(ids.size() * kDim, 1.0f);
        const karec::MatrixView matrix{vectors.data(), ids.size(), kDim, karec::DType::float32};
        karec::ItemIndex::BuildOptions options;
        options.dtype = dtype;
        while_changing(vectors, 1.0f, std::numeric_limits<float>::quiet_NaN(), [&] {
            auto index = karec::ItemIndex::build(ids, matrix, options);
            if (!index.ok()) return;
            (void)index->upsert(ids, matrix, {}, 0);
            const karec::IndexView view = index->pinned();
            std::vector<std::int32_t> rows(ids.size());
            std::vector<float> stored(vectors.size());
            CHECK(view.lookup(ids, rows).ok() && view.gather(rows, stored).ok());
            CHECK(std::ranges::all_of(stored, [](float x) { return std::isfinite(x); }));
        });
    }
}

TEST(scores_stay_in_bounds_if_codes_of_tables_change) {
    const karec::ItemIndex plain = small_index();
    std::vector<std::uint32_t> item_codes(kRows, 9);
    const karec::Column column{"creator", karec::DType::uint32, std::as_bytes(std::span(item_codes))};
    std::vector<std::int64_t> ids(kRows);
    for (std::size_t i = 0; i < kRows; ++i) ids[i] = static_cast<std::int64_t>(i);
    karec::ItemIndex::BuildOptions options;
    options.code_columns = {&column, 1};
    const std::vector<float> vectors(kRows * 4, 1.0f);
    const auto index = karec::ItemIndex::build(ids, {vectors.data(), kRows, 4, karec::DType::float32}, options);
    std::vector<std::uint32_t> codes = {1, 2, 9};
    const std::vector<float> values(3, 2.0f);
    const karec::CodeTable table{codes, values, 0.0f};
    std::vector<float> scores(kRows);
    for (int i = 0; i < 100; ++i) {
        while_changing(codes, std::uint32_t{9}, UINT32_MAX, [&] {
            const karec::Query query(std::span<const float>(vectors).first(4), {&table, 1});
            CHECK(index->pinned().scores(query, karec::Candidates::of_ids(ids), scores).ok());
            CHECK(std::ranges::all_of(scores, [](float score) { return score == 4.0f || score == 6.0f; }));
        });
    }
}

TEST(adjust_stores_no_nan_if_scales_change) {
    karec::ItemIndex index = small_index();
    std::vector<std::int64_t> ids(kEntries, 3);
    std::vector<float> scales(kEntries, 2.0f);
    // The score is the scale. A copy of a float that changes may mix its bytes: a scale of 1.7e38 is possible.
    const std::vector<float> query(4, 0.25f);
    while_changing(scales, 2.0f, std::numeric_limits<float>::quiet_NaN(), [&] {
        (void)index.adjust(ids, scales, {});
        float score = 0.0f;
        CHECK(index.pinned().scores(query, karec::Candidates::of_ids({ids.data(), 1}), {&score, 1}).ok());
        CHECK(std::isfinite(score));
    });
}

#endif
