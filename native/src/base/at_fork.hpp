// Keeps objects complete across fork(): no other thread is in the middle of a change.
//
// The child of a fork has only the forking thread: locks of other threads would stay locked, and their changes
// incomplete. So the forking thread locks every registered object before the fork and unlocks it afterwards, in parent
// and child.
#pragma once

namespace karec {

// The place of an object in the list. The list is locked while objects are added or removed, and during a fork: do not
// add or remove an object while you hold a lock that lock_for_fork() takes.
class AtForkEntry {
  public:
    AtForkEntry(const AtForkEntry&) = delete;
    AtForkEntry& operator=(const AtForkEntry&) = delete;

  protected:
    using Lock = void (*)(void* object) noexcept;
    using Unlock = void (*)(void* object, bool in_child) noexcept;
    AtForkEntry(void* object, Lock lock, Unlock unlock);  // throws std::bad_alloc
    ~AtForkEntry();

  private:
    friend struct AtForkList;
    void* object_;
    Lock lock_;
    Unlock unlock_;
};

// Member of a class with lock_for_fork() and unlock_after_fork(bool in_child), both noexcept. It must be the last
// member: it is destroyed before the others.
template <class T>
class AtFork : AtForkEntry {
  public:
    explicit AtFork(T& object)
        : AtForkEntry(
              &object, [](void* self) noexcept { static_cast<T*>(self)->lock_for_fork(); },
              [](void* self, bool in_child) noexcept { static_cast<T*>(self)->unlock_after_fork(in_child); }) {}
};

}  // namespace karec
