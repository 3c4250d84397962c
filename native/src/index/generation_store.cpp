#include "index/generation_store.hpp"

#include <algorithm>
#include <new>
#include <thread>
#include <utility>

namespace karec {

GenerationStore::GenerationStore(std::unique_ptr<Generation> first) : newest_(first.get()) {
    first->n_first_rows = first->n_rows();
    first->first_number = std::max<std::uint64_t>(first->number, 1);
    first->publish();
    oldest_ = first->number;
    generations_.push_back(std::move(first));
}

GenerationStore::~GenerationStore() {
    for (HazardSlot* slot = slots_.load(); slot != nullptr;) delete std::exchange(slot, slot->next);
}

HazardSlot* GenerationStore::take_slot() const noexcept {
    HazardSlot* slot = nullptr;
    while (slot == nullptr) {
        for (HazardSlot* used = slots_.load(std::memory_order_acquire); used != nullptr; used = used->next) {
            bool is_taken = used->is_taken.load(std::memory_order_relaxed);
            if (!is_taken && used->is_taken.compare_exchange_strong(is_taken, true, std::memory_order_acquire)) {
                return used;
            }
        }
        // Every slot is taken: add one. Without memory for it, wait for a reader to free its slot.
        slot = new (std::nothrow) HazardSlot;
        if (slot == nullptr) std::this_thread::yield();
    }
    slot->is_taken.store(true, std::memory_order_relaxed);
    slot->next = slots_.load(std::memory_order_relaxed);
    while (!slots_.compare_exchange_weak(slot->next, slot, std::memory_order_seq_cst, std::memory_order_relaxed)) {
    }
    return slot;
}

HazardSlot* GenerationStore::pin() const noexcept {
    HazardSlot* slot = take_slot();
    slot->owner = ::pthread_self();
    const Generation* generation = newest_.load();
    // This store and load, the push of a new slot, the writer's store of `newest_` and its loads of the slots are all
    // sequentially consistent: either the writer sees the slot's generation, or the reader sees the newer one.
    for (;;) {
        slot->generation.store(generation);
        const Generation* newest = newest_.load();
        if (newest == generation) return slot;
        generation = newest;
    }
}

void GenerationStore::unlock_after_fork(bool in_child) noexcept {
    for (HazardSlot* slot = slots_.load(); in_child && slot != nullptr; slot = slot->next) {
        if (!slot->is_taken.load() || ::pthread_equal(slot->owner, ::pthread_self()) != 0) continue;
        // A thread may have taken the slot without a generation yet.
        if (const Generation* pinned = slot->generation.load(); pinned != nullptr && !is_orphaned(pinned)) {
            try {
                orphaned_.push_back(pinned);
            } catch (const std::bad_alloc&) {
                continue;  // the slot stays taken
            }
        }
        ++slot->epoch;
        unpin(slot);
    }
    writing_.unlock();
}

bool GenerationStore::is_orphaned(const Generation* generation) const noexcept {
    return std::ranges::find(orphaned_, generation) != orphaned_.end();
}

void GenerationStore::unpin(HazardSlot* slot) noexcept {
    slot->generation.store(nullptr, std::memory_order_release);
    slot->is_taken.store(false, std::memory_order_release);
}

GenerationStore::WriteTransaction::WriteTransaction(GenerationStore& store)
    : store_(store), lock_(store.writing_), next_(std::make_unique<Generation>(*store.generations_.back())) {
    store.reclaim();
    ++next_->number;
}

std::size_t GenerationStore::WriteTransaction::new_row() {
    const auto& free = store_.free_rows_;
    if (n_reused_ < free.size() && free[n_reused_].first_unused <= store_.oldest_) {
        const std::size_t row = free[n_reused_++].row;
        next_->removed.put(row, false);
        next_->closed.put(row, false);
        next_->mark_changed(row);
        return row;
    }
    next_->grow(next_->n_rows() + 1);
    next_->mark_changed(next_->n_rows() - 1);
    return next_->n_rows() - 1;
}

void GenerationStore::WriteTransaction::retire(std::size_t row) {
    retired_.push_back(row);
    next_->removed.put(row, true);
    next_->closed.put(row, true);
    next_->blocked.put(row, false);
    next_->mark_changed(row);
}

void GenerationStore::WriteTransaction::replace(Generation other) {
    *next_ = std::move(other);
    replaced_ = true;
}

void GenerationStore::WriteTransaction::commit() {
    // All allocations are before the first change.
    store_.free_rows_.reserve(store_.free_rows_.size() + retired_.size());
    store_.generations_.reserve(store_.generations_.size() + 1);
    next_->publish();
    const Generation* next = next_.get();
    if (replaced_) store_.free_rows_.clear();
    for (const std::size_t row : retired_) store_.free_rows_.push_back({next->number, row});
    store_.generations_.push_back(std::move(next_));
    store_.free_rows_.erase(store_.free_rows_.begin(),
                            store_.free_rows_.begin() + static_cast<std::ptrdiff_t>(n_reused_));
    store_.newest_.store(next);
    store_.reclaim();
}

void GenerationStore::reclaim() noexcept {
    const auto is_pinned = [&](const Generation* generation) {
        for (const HazardSlot* slot = slots_.load(); slot != nullptr; slot = slot->next) {
            if (slot->generation.load() == generation) return true;
        }
        return false;
    };
    // Frees generations in the middle too: the oldest that is left decides which free rows may be reused.
    const Generation* newest = generations_.back().get();
    oldest_ = newest->number;
    std::erase_if(generations_, [&](const auto& generation) {
        const bool is_read = generation.get() == newest || is_pinned(generation.get());
        if (is_read) oldest_ = std::min(oldest_, generation->number);
        return !is_read && !is_orphaned(generation.get());
    });
}

}  // namespace karec
