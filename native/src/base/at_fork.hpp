// Objects that a fork() finds whole: no other thread is in the middle of a change, which the child would keep forever.
//
// Before a fork every registered object is locked, in the thread that forks; afterwards it is unlocked, in parent and
// child. The child has that one thread alone: locks that others held, and what they were doing, would stay as it was.
#pragma once

namespace karec {

// An object's place in the list. The list is locked while objects come and go and from before to after a fork: an
// object must not come or go while a lock is held that lock_for_fork() takes.
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
    AtForkEntry* previous_ = nullptr;
    AtForkEntry* next_ = nullptr;
};

// Member of a class with lock_for_fork() and unlock_after_fork(bool in_child), both noexcept. The last member, so that
// it is there while all others are.
template <class T>
class AtFork : AtForkEntry {
  public:
    explicit AtFork(T& object)
        : AtForkEntry(
              &object, [](void* of) noexcept { static_cast<T*>(of)->lock_for_fork(); },
              [](void* of, bool in_child) noexcept { static_cast<T*>(of)->unlock_after_fork(in_child); }) {}
};

}  // namespace karec
