#include "diversity/feature_blocks.hpp"

#include <utility>

#include "kernels/kernels.hpp"

namespace karec {
namespace {

// Each thread keeps the memory of its last blocks for its next ones: new pages cost as much as a small selection.
constexpr std::size_t kMostKept = std::size_t{8} << 20;  // floats: 32 MiB a thread
struct Kept {
    AlignedFloats values;
    std::size_t size = 0;
};
thread_local Kept kept;

}  // namespace

FeatureBlocks::FeatureBlocks(const VectorRows& rows, std::span<const double> squared_norms, double scale,
                             std::vector<std::uint32_t> order)
    : rows_(rows),
      squared_norms_(squared_norms),
      scale_(scale),
      order_(std::move(order)),
      packed_((order_.size() + kBlockItems - 1) / kBlockItems, false),
      n_values_(packed_.size() * kBlockItems * rows.cols),
      decoded_(rows.dtype == DType::int8 ? kBlockItems * rows.cols : 0) {
    if (kept.size >= n_values_) {
        values_ = std::move(kept.values);
        n_values_ = std::exchange(kept.size, 0);
    } else {
        values_.reset(static_cast<float*>(::operator new[](n_values_ * sizeof(float), std::align_val_t{64})));
    }
}

FeatureBlocks::~FeatureBlocks() {
    if (n_values_ > kept.size && n_values_ <= kMostKept) kept = {std::move(values_), n_values_};
}

void FeatureBlocks::pack(std::size_t b) {
    const void* places[kBlockItems];
    double norms[kBlockItems];
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        const std::size_t place = b * kBlockItems + i;
        const std::size_t item = order_[place < order_.size() ? place : b * kBlockItems];
        norms[i] = place < order_.size() ? squared_norms_[item] : 0.0;
        places[i] = rows_.dtype == DType::int8 ? rows_.floats(item, &decoded_[i * rows_.cols])
                                               : static_cast<const void*>(rows_.at(item));
    }
    const Kernels& loops = kernels();
    const auto pack_rows = rows_.dtype == DType::float16 ? loops.pack_float16 : loops.pack_float32;
    pack_rows(places, norms, scale_, rows_.cols, values_.get() + b * kBlockItems * rows_.cols);
    packed_[b] = true;
}

}  // namespace karec
