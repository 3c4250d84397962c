#include "index/generation.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace karec {

const PagedColumn* Generation::find_column(std::string_view name) const noexcept {
    const auto found = std::ranges::find(columns, name, &PagedColumn::name);
    return found == columns.end() ? nullptr : &*found;
}

void Generation::grow(std::size_t n) {
    if (n <= n_rows()) return;
    rows.grow(n);
    ids.grow(n);
    if (format.dtype == DType::int8) scales.grow(n);
    if (keeps_exact) exact.grow(n);
    if (n_codes > 1) codes.grow(n);
    if (!adjustments.empty()) adjustments.grow(n);
    for (PagedColumn& column : columns) column.values.grow(n);
    if (!list_of.empty()) list_of.grow(n);
}

void Generation::write_row(std::size_t row, std::int64_t id, const MatrixView& vector, std::size_t code,
                           std::span<const Column* const> columns_in, std::size_t i, std::size_t old) {
    format.encode(vector, rows.write_unshared(row), format.dtype == DType::int8 ? scales.write_unshared(row) : nullptr);
    if (keeps_exact) exact_format().encode(vector, exact.write_unshared(row), nullptr);
    *ids.write_unshared(row) = id;
    if (n_codes > 1) *codes.write_unshared(row) = static_cast<std::uint8_t>(code);
    for (std::size_t c = 0; c < columns.size(); ++c) {
        PagedArray<std::byte>& values = columns[c].values;
        const std::size_t width = size_of(columns[c].dtype);
        const std::byte* from = columns_in[c] == nullptr ? values.at(old) : columns_in[c]->bytes.data() + i * width;
        std::memcpy(values.write_unshared(row), from, width);
    }
}

void Generation::adjust(std::size_t row, const Adjustment& adjustment) {
    *adjustments.copy_on_write(row) = adjustment;
    adjusted.put(row, !has_same_bits(adjustment, kNoAdjustment));
}

void Generation::mark_adjusted(bool without_reading) {
    for (std::size_t row = 0; row < adjustments.size(); ++row) {
        adjusted.put(row, without_reading || !has_same_bits(*adjustments.at(row), kNoAdjustment));
    }
}

void Generation::put_in_lists(std::span<const std::int32_t> written, std::int64_t version) {
    std::vector<std::uint16_t> of(written.size(), static_cast<std::uint16_t>(lists->n()));
    // Vectors of another model version lie in another space than the centroids.
    if (version == lists->model_version) lists->nearest(*this, written, of);
    list_of.grow(n_rows());
    for (std::size_t i = 0; i < written.size(); ++i) {
        const auto row = static_cast<std::size_t>(written[i]);
        *list_of.write_unshared(row) = of[i];
        if (row < lists->n_ranged_rows()) moved.put(row, true);
    }
}

std::size_t Generation::code_for(std::int64_t version) {
    const auto used = used_versions();
    auto found = std::ranges::find(used, version, &ModelVersion::number);
    if (found == used.end()) found = std::ranges::find(used, std::size_t{0}, &ModelVersion::n_rows);
    const auto code = static_cast<std::size_t>(found - used.begin());
    if (code == kMaxVersions) return code;
    n_codes = std::max(n_codes, code + 1);
    if (versions[code].n_rows == 0) versions[code] = ModelVersion{.number = version};
    // Rows from before have code 0: there was one version.
    if (n_codes > 1) codes.grow(n_rows());
    return code;
}

std::vector<std::int32_t> Generation::rows_with_works() const {
    std::vector<std::int32_t> found;
    found.reserve(n_works);
    for (std::size_t row = 0; row < n_rows(); ++row) {
        if (!removed.has(row)) found.push_back(static_cast<std::int32_t>(row));
    }
    return found;
}

Generation Generation::compacted() const {
    const std::vector<std::int32_t> kept = rows_with_works();
    if (lists == nullptr) return copy_of(kept);
    std::vector<std::uint16_t> of(kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
        of[i] = static_cast<std::uint16_t>(list_of_row(static_cast<std::size_t>(kept[i])));
    }
    return in_lists(*lists, kept, of);
}

Generation Generation::in_lists(RowLists made, std::span<const std::int32_t> kept,
                                std::span<const std::uint16_t> of) const {
    std::ranges::fill(made.ends, 0);
    for (const std::uint16_t list : of) ++made.ends[list];
    std::vector<std::size_t> at(made.ends.size());
    for (std::size_t list = 0, sum = 0; list < at.size(); ++list) {
        at[list] = sum;
        sum += made.end(list);
        made.ends[list] = static_cast<std::int64_t>(sum);
    }
    std::vector<std::int32_t> ordered(kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i) ordered[at[of[i]]++] = kept[i];
    Generation to = copy_of(ordered);
    to.lists = std::make_shared<const RowLists>(std::move(made));
    return to;
}

Generation Generation::copy_of(std::span<const std::int32_t> kept) const {
    Generation to(format);
    if (keeps_exact) to.keep_exact();
    to.number = number;
    to.model_version = model_version;
    to.versions = versions;
    to.n_codes = n_codes;
    to.n_works = kept.size();
    to.n_first_rows = kept.size();
    to.id_map = IdMap(kept.size());
    for (const PagedColumn& column : columns) {
        to.columns.push_back({column.name, column.dtype, PagedArray<std::byte>(size_of(column.dtype), kLargePage)});
    }
    to.grow(kept.size());
    if (n_codes > 1) to.codes.grow(kept.size());
    if (!adjustments.empty()) to.adjustments.grow(kept.size());
    for (std::size_t at = 0; at < kept.size(); ++at) {
        const auto row = static_cast<std::size_t>(kept[at]);
        std::memcpy(to.rows.write_unshared(at), rows.at(row), format.stride());
        if (keeps_exact) std::memcpy(to.exact.write_unshared(at), exact.at(row), exact_format().stride());
        if (!scales.empty()) *to.scales.write_unshared(at) = *scales.at(row);
        if (!codes.empty()) *to.codes.write_unshared(at) = *codes.at(row);
        if (adjusted.has(row)) to.adjust(at, *adjustments.at(row));
        *to.ids.write_unshared(at) = *ids.at(row);
        for (std::size_t c = 0; c < columns.size(); ++c) {
            std::memcpy(to.columns[c].values.write_unshared(at), columns[c].values.at(row), size_of(columns[c].dtype));
        }
        to.id_map.put(*ids.at(row), static_cast<std::int32_t>(at));
        if (blocked.has(row)) to.blocked.put(at, true), to.closed.put(at, true);
    }
    return to;
}

void Generation::publish() noexcept {
    id_map.buckets().publish();
    adjustments.publish();
    for (RowSet* set : {&blocked, &removed, &closed, &adjusted, &moved}) set->words().publish();
}

std::size_t Generation::bytes() const noexcept {
    std::size_t sum = rows.bytes() + scales.bytes() + exact.bytes() + ids.bytes() + codes.bytes() +
                      id_map.buckets().bytes() + adjustments.bytes() + list_of.bytes();
    for (const RowSet* set : {&blocked, &removed, &closed, &adjusted, &moved}) sum += set->words().bytes();
    for (const PagedColumn& column : columns) sum += column.values.bytes();
    if (lists != nullptr) sum += lists->bytes();
    return sum;
}

}  // namespace karec
