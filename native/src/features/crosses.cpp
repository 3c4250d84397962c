#include "features/crosses.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/scratch.hpp"
#include "features/numbers.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

// How often each code stands in a list, and where it stands first.
class Tally {
  public:
    struct Entry {
        std::int64_t code = 0;  // 0: an empty slot
        std::int32_t count = 0;
        std::int32_t first = 0;
    };

    // Of column `column` of a list of `n` rows with `width` columns.
    void fill(const std::int64_t* codes, std::size_t n, std::size_t width, std::size_t column) {
        while ((std::size_t{1} << bits_) < 2 * n) ++bits_;
        slots_.assign(std::size_t{1} << bits_, Entry{});
        for (std::size_t h = 0; h < n; ++h) {
            const std::int64_t code = codes[h * width + column];
            if (code == 0) continue;
            Entry& entry = slots_[slot_of(code)];
            if (entry.count == 0) entry = {code, 0, static_cast<std::int32_t>(h)};
            ++entry.count;
        }
    }
    // Of a code other than 0; count 0 where it does not stand in the list.
    const Entry& find(std::int64_t code) const noexcept { return slots_[slot_of(code)]; }

  private:
    std::size_t slot_of(std::int64_t code) const noexcept {
        std::size_t slot = (static_cast<std::uint64_t>(code) * 0x9E3779B97F4A7C15) >> (64 - bits_);
        while (slots_[slot].code != 0 && slots_[slot].code != code) slot = (slot + 1) & (slots_.size() - 1);
        return slot;
    }

    int bits_ = 1;
    ScratchVector<Entry> slots_;
};

// The same of one code, by a walk along the list.
Tally::Entry walked(const std::int64_t* codes, std::size_t n, std::size_t width, std::size_t column,
                    std::int64_t code) noexcept {
    Tally::Entry entry{code, 0, 0};
    for (std::size_t h = n; h-- > 0;) {
        if (codes[h * width + column] != code) continue;
        ++entry.count;
        entry.first = static_cast<std::int32_t>(h);
    }
    return entry;
}

// A user's vectors, packed in blocks of kBlockItems: those of the history's works, then the mean of those, then the
// mean of the skipped works'.
class UserVectors {
  public:
    explicit UserVectors(const CrossInputs& in)
        : in_(in),
          rows_(in.vectors.size() / in.dim),
          width_((in.dim + 15) / 16 * 16),
          sum_(in.dim),
          query_(width_, 0.0f) {}

    Status fill(std::span<const std::int64_t> history, std::span<const std::int64_t> skipped) {
        blocks_.clear();
        n_ = 0;
        Status status = add_list(history, true);
        n_history_ = n_;
        if (status.ok()) {
            add_mean();
            status = add_list(skipped, false);
        }
        add_mean();
        dots_.resize(blocks_.size() / width_);
        return status;
    }

    // The three columns of an item.
    Status put(std::int64_t row, float* out) {
        if (row < 0 || static_cast<std::size_t>(row) >= rows_) return refused(row);
        std::fill_n(out, kCowatchCrosses, 0.0f);
        if (row == 0 || dots_.empty()) return {};
        std::copy_n(vector(row), in_.dim, query_.data());
        for (std::size_t at = 0; at < dots_.size(); at += kBlockItems) {
            kernels().dot_packed(blocks_.data() + at * width_, width_, query_.data(), dots_.data() + at);
        }
        if (n_history_ > 0) out[0] = largest({dots_.data(), n_history_});
        out[1] = dots_[n_history_];
        out[2] = dots_[n_history_ + 1];
        return {};
    }

  private:
    // NaN where one of them is.
    static float largest(std::span<const float> values) noexcept {
        float found = values.front();
        for (const float value : values) found = value > found || std::isnan(value) ? value : found;
        return found;
    }
    static Status refused(std::int64_t row) {
        return Status::invalid("a row of the co-watch vectors is " + std::to_string(row));
    }
    const float* vector(std::int64_t row) const noexcept {
        return in_.vectors.data() + static_cast<std::size_t>(row) * in_.dim;
    }

    void add(const auto* values) {
        if (n_ % kBlockItems == 0) blocks_.resize(blocks_.size() + kBlockItems * width_, 0.0f);
        float* to = blocks_.data() + n_ / kBlockItems * kBlockItems * width_ + n_ % kBlockItems;
        for (std::size_t d = 0; d < in_.dim; ++d) to[d * kBlockItems] = static_cast<float>(values[d]);
        ++n_;
    }

    // Sums the vectors of a list's works that have one, and packs them where `each`.
    Status add_list(std::span<const std::int64_t> list, bool each) {
        std::ranges::fill(sum_, 0.0);
        n_summed_ = 0;
        for (const std::int64_t& place : list) {
            const std::int64_t row = place;  // read once: it is checked, then used
            if (row < 0 || static_cast<std::size_t>(row) >= rows_) return refused(row);
            if (row == 0) continue;
            const float* from = vector(row);
            for (std::size_t d = 0; d < in_.dim; ++d) sum_[d] += static_cast<double>(from[d]);
            ++n_summed_;
            if (each) add(from);
        }
        return {};
    }

    void add_mean() {
        const double n = static_cast<double>(std::max<std::size_t>(n_summed_, 1));
        for (double& value : sum_) value /= n;
        add(sum_.data());
    }

    const CrossInputs& in_;
    std::size_t rows_;
    std::size_t width_;
    std::size_t n_ = 0;
    std::size_t n_history_ = 0;
    std::size_t n_summed_ = 0;
    ScratchVector<double> sum_;
    ScratchVector<float> query_;
    ScratchVector<float> blocks_;
    ScratchVector<float> dots_;
};

// Entry u of U lists that lie side by side.
std::span<const std::int64_t> of_user(std::span<const std::int64_t> all, std::size_t n_users, std::size_t u) noexcept {
    const std::size_t each = all.size() / n_users;
    return all.subspan(u * each, each);
}

class Crosses {
  public:
    Crosses(const CrossInputs& in, std::span<float> out)
        : in_(in),
          out_(out),
          n_history_(in.history.size() / in.n_users / in.n_categories),
          n_skipped_(in.skipped.size() / in.n_users / in.n_categories),
          logs_(std::max(n_history_, n_skipped_) + 1) {
        for (std::size_t n = 0; n < logs_.size(); ++n) {
            logs_[n] = static_cast<float>(fixed_log1p(static_cast<double>(n)));
        }
    }

    void put_matches() {
        const std::size_t width = in_.n_categories;
        Tally kept;
        Tally passed;
        for (std::size_t i = 0; i < width; ++i) {
            if (in_.n_users == 1) {
                kept.fill(in_.history.data(), n_history_, width, i);
                passed.fill(in_.skipped.data(), n_skipped_, width, i);
            }
            for (std::size_t n = 0; n < in_.n_items; ++n) {
                const std::int64_t code = in_.items[n * width + i];
                float* to = out_.data() + n * in_.width() + i;
                if (code == 0) {
                    for (std::size_t plane = 0; plane < kMatches; ++plane) to[plane * width] = 0.0f;
                } else if (in_.n_users == 1) {
                    put(kept.find(code), passed.find(code), to);
                } else {
                    put(walked(of_user(in_.history, in_.n_users, n).data(), n_history_, width, i, code),
                        walked(of_user(in_.skipped, in_.n_users, n).data(), n_skipped_, width, i, code), to);
                }
            }
        }
    }

    void put_creators() {
        std::size_t column = kMatches * in_.n_categories;
        for (const auto& all : {in_.follows, in_.friends}) {
            Tally held;
            if (in_.n_users == 1) held.fill(all.data(), all.size(), 1, 0);
            for (std::size_t n = 0; n < in_.n_items; ++n) {
                const std::int64_t code = in_.items[n * in_.n_categories + in_.creator];
                bool found = false;
                if (code > 0 && in_.n_users == 1) {
                    found = held.find(code).count > 0;
                } else if (code > 0) {
                    const auto list = of_user(all, in_.n_users, n);
                    found = std::ranges::find(list, code) != list.end();
                }
                out_[n * in_.width() + column] = found ? 1.0f : 0.0f;
            }
            ++column;
        }
    }

    void put_alike() {
        const std::size_t first = kMatches * in_.n_categories + (in_.has_creators ? 2 : 0);
        for (std::size_t n = 0; n < in_.n_items; ++n) {
            const auto user = of_user(in_.alike, in_.n_users, in_.n_users == 1 ? 0 : n);
            for (std::size_t p = 0; p < in_.shared.size(); ++p) {
                const std::int64_t code = in_.items[n * in_.n_categories + in_.shared[p]];
                out_[n * in_.width() + first + p] = code > 0 && user[p] == code ? 1.0f : 0.0f;
            }
        }
    }

    Status put_cowatch() {
        UserVectors user(in_);
        const std::size_t column = in_.width() - kCowatchCrosses;
        Status status;
        for (std::size_t n = 0; n < in_.n_items && status.ok(); ++n) {
            if (n < in_.n_users) {
                status = user.fill(of_user(in_.history_cowatch, in_.n_users, n),
                                   of_user(in_.skipped_cowatch, in_.n_users, n));
            }
            if (status.ok()) status = user.put(in_.cowatch[n], out_.data() + n * in_.width() + column);
        }
        return status;
    }

  private:
    void put(const Tally::Entry& kept, const Tally::Entry& passed, float* to) const noexcept {
        const std::size_t width = in_.n_categories;
        to[0] = logs_[static_cast<std::size_t>(kept.count)];
        to[width] = logs_[static_cast<std::size_t>(passed.count)];
        to[2 * width] = kept.count > 0 ? 1.0f / static_cast<float>(1 + kept.first) : 0.0f;
        to[3 * width] = passed.count > 0 ? 1.0f / static_cast<float>(1 + passed.first) : 0.0f;
    }

    const CrossInputs& in_;
    std::span<float> out_;
    std::size_t n_history_;
    std::size_t n_skipped_;
    ScratchVector<float> logs_;  // logs_[n] = ln(1 + n)
};

}  // namespace

Status crosses(const CrossInputs& inputs, std::span<float> out) {
    if (inputs.n_categories == 0) return Status::invalid("items have no categories");
    if (inputs.n_items == 0) return {};
    Crosses all(inputs, out);
    all.put_matches();
    if (inputs.has_creators) all.put_creators();
    all.put_alike();
    return inputs.dim > 0 ? all.put_cowatch() : Status();
}

}  // namespace karec
