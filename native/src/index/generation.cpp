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
    if (has_exact_rows) exact_rows.grow(n);
    if (n_codes > 1) codes.grow(n);
    if (!code_columns.empty()) item_codes.grow(n);
    if (!adjustments.empty()) adjustments.grow(n);
    for (PagedColumn& column : columns) column.values.grow(n);
    if (!list_of.empty()) list_of.grow(n);
}

void Generation::write_row(std::size_t row, std::int64_t id, const MatrixView& vector, std::size_t code,
                           std::span<const Column* const> columns_in, std::size_t i, std::size_t old) {
    format.encode(vector, rows.write_unshared(row), format.dtype == DType::int8 ? scales.write_unshared(row) : nullptr);
    if (has_exact_rows) exact_format().encode(vector, exact_rows.write_unshared(row), nullptr);
    *ids.write_unshared(row) = id;
    if (n_codes > 1) *codes.write_unshared(row) = static_cast<std::uint8_t>(code);
    for (std::size_t c = 0; c < columns.size(); ++c) {
        PagedArray<std::byte>& values = columns[c].values;
        const std::size_t width = size_of(columns[c].dtype);
        const std::byte* from = columns_in[c] == nullptr ? values.at(old) : columns_in[c]->bytes.data() + i * width;
        std::memcpy(values.write_unshared(row), from, width);
    }
}

void Generation::write_codes(std::size_t row, std::span<const Column* const> codes_in, std::size_t i) {
    for (std::size_t c = 0; c < codes_in.size(); ++c) {
        std::memcpy(item_codes.write_unshared(row) + c, codes_in[c]->bytes.data() + i * sizeof(std::uint32_t),
                    sizeof(std::uint32_t));
    }
}

void Generation::adjust(std::size_t row, const Adjustment& adjustment) {
    *adjustments.copy_on_write(row) = adjustment;
    adjusted.put(row, !has_same_bits(adjustment, kNoAdjustment));
}

void Generation::mark_changed(std::size_t row) {
    changed_in.grow(row / 64 + 1);
    *changed_in.copy_on_write(row / 64) = number;
}

void Generation::mark_adjusted(bool without_reading) {
    for (std::size_t row = 0; row < adjustments.size(); ++row) {
        adjusted.put(row, without_reading || !has_same_bits(*adjustments.at(row), kNoAdjustment));
    }
}

void Generation::assign_lists(std::span<const std::int32_t> written_rows, std::int64_t version) {
    std::vector<std::uint16_t> list_numbers(written_rows.size(), static_cast<std::uint16_t>(lists->n()));
    // Vectors of another model version are in another space than the centroids.
    if (version == lists->model_version) lists->find_nearest(*this, written_rows, list_numbers);
    list_of.grow(n_rows());
    for (std::size_t i = 0; i < written_rows.size(); ++i) {
        const auto row = static_cast<std::size_t>(written_rows[i]);
        *list_of.write_unshared(row) = list_numbers[i];
        if (row < lists->n_ranged_rows()) moved.put(row, true);
    }
}

std::size_t Generation::assign_code(std::int64_t version) {
    const auto used = used_versions();
    auto found = std::ranges::find(used, version, &ModelVersion::number);
    if (found == used.end()) found = std::ranges::find(used, std::size_t{0}, &ModelVersion::n_rows);
    const auto code = static_cast<std::size_t>(found - used.begin());
    if (code == kMaxVersions) return code;
    n_codes = std::max(n_codes, code + 1);
    if (versions[code].n_rows == 0) versions[code] = ModelVersion{.number = version};
    // Older rows have code 0: there was one version.
    if (n_codes > 1) codes.grow(n_rows());
    return code;
}

std::vector<std::int32_t> Generation::item_rows() const {
    std::vector<std::int32_t> found;
    found.reserve(n_items);
    for (std::size_t row = 0; row < n_rows(); ++row) {
        if (!removed.has(row)) found.push_back(static_cast<std::int32_t>(row));
    }
    return found;
}

Generation Generation::copy_compact() const {
    const std::vector<std::int32_t> all = item_rows();
    if (lists == nullptr) return copy_rows(all);
    std::vector<std::uint16_t> list_numbers;
    list_numbers.reserve(all.size());
    for (const std::int32_t row : all) {
        list_numbers.push_back(static_cast<std::uint16_t>(find_list(static_cast<std::size_t>(row))));
    }
    return copy_into_lists(*lists, all, list_numbers);
}

Generation Generation::copy_into_lists(RowLists new_lists, std::span<const std::int32_t> from_rows,
                                       std::span<const std::uint16_t> list_numbers) const {
    std::ranges::fill(new_lists.ends, 0);
    for (const std::uint16_t list : list_numbers) ++new_lists.ends[list];
    std::vector<std::size_t> next_rows(new_lists.ends.size());
    std::size_t n = 0;
    for (std::size_t list = 0; list < next_rows.size(); ++list) {
        next_rows[list] = n;
        n += new_lists.end(list);
        new_lists.ends[list] = static_cast<std::int64_t>(n);
    }
    std::vector<std::int32_t> ordered(from_rows.size());
    for (std::size_t i = 0; i < from_rows.size(); ++i) ordered[next_rows[list_numbers[i]]++] = from_rows[i];
    Generation to = copy_rows(ordered);
    to.lists = std::make_shared<const RowLists>(std::move(new_lists));
    return to;
}

Generation Generation::copy_rows(std::span<const std::int32_t> from_rows) const {
    Generation to(format);
    if (has_exact_rows) to.add_exact_rows();
    to.add_code_columns(code_columns);
    const std::size_t n = from_rows.size();
    to.number = number;
    to.model_version = model_version;
    to.versions = versions;
    to.n_codes = n_codes;
    to.n_items = n;
    to.n_first_rows = n;
    to.first_number = number;
    to.id_map = IdMap(n);
    for (const PagedColumn& column : columns) to.columns.emplace_back(column.name, column.dtype);
    if (!adjustments.empty()) to.adjustments.grow(n);
    to.grow(n);
    for (std::size_t i = 0; i < n; ++i) {
        const auto row = static_cast<std::size_t>(from_rows[i]);
        std::memcpy(to.rows.write_unshared(i), rows.at(row), format.stride());
        if (has_exact_rows) {
            std::memcpy(to.exact_rows.write_unshared(i), exact_rows.at(row), exact_format().stride());
        }
        if (!scales.empty()) *to.scales.write_unshared(i) = *scales.at(row);
        if (!codes.empty()) *to.codes.write_unshared(i) = *codes.at(row);
        if (adjusted.has(row)) to.adjust(i, *adjustments.at(row));
        *to.ids.write_unshared(i) = *ids.at(row);
        if (!code_columns.empty()) {
            std::copy_n(item_codes.at(row), code_columns.size(), to.item_codes.write_unshared(i));
        }
        for (std::size_t c = 0; c < columns.size(); ++c) {
            std::memcpy(to.columns[c].values.write_unshared(i), columns[c].values.at(row), size_of(columns[c].dtype));
        }
        to.id_map.put(*ids.at(row), static_cast<std::int32_t>(i));
        to.blocked.put(i, blocked.has(row));
        to.closed.put(i, blocked.has(row));
    }
    return to;
}

void Generation::publish() noexcept {
    id_map.buckets().publish();
    adjustments.publish();
    changed_in.publish();
    for (RowSet* set : {&blocked, &removed, &closed, &adjusted, &moved}) set->words().publish();
}

std::size_t Generation::bytes() const noexcept {
    std::size_t sum = rows.bytes() + scales.bytes() + exact_rows.bytes() + ids.bytes() + codes.bytes() +
                      item_codes.bytes() + id_map.buckets().bytes() + adjustments.bytes() + changed_in.bytes() +
                      list_of.bytes();
    for (const RowSet* set : {&blocked, &removed, &closed, &adjusted, &moved}) sum += set->words().bytes();
    for (const PagedColumn& column : columns) sum += column.values.bytes();
    if (lists != nullptr) sum += lists->bytes();
    return sum;
}

}  // namespace karec
