// UserTower in a build without ONNX Runtime's headers: open() is unavailable.
#include "base/boundary.hpp"
#include "karec/user_tower.hpp"

namespace karec {

struct UserTower::Session {};

bool has_user_tower() noexcept {
    return false;
}

Result<UserTower> UserTower::open(const std::string&, const std::string&, int) noexcept {
    return at_boundary([]() -> Result<UserTower> {
        return Status{Code::unavailable, "this karec was built without ONNX Runtime's headers: give user vectors"};
    });
}

std::span<const TensorSpec> UserTower::inputs() const noexcept {
    return {};
}
std::size_t UserTower::dim() const noexcept {
    return 0;
}
std::int64_t UserTower::model_version() const noexcept {
    return 0;
}
Status UserTower::run(std::span<const Tensor>, std::span<float>) const noexcept {
    return at_boundary([]() -> Status { return {Code::unavailable, "there is no user tower"}; });
}

}  // namespace karec
