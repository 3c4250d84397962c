// Assignment of units to arms: the golden file that Python reads too.
#include <fstream>
#include <string>

#include "check.hpp"
#include "karec/assignment.hpp"

using namespace karec;

TEST(unit_bucket_and_arm_equal_the_golden_file) {
    std::ifstream file(KAREC_GOLDEN_FILES "/experiments/golden/buckets.tsv");
    const double weights[] = {0.1, 0.2, 0.3, 0.4};
    std::string seed, id, bucket, arm;
    int n_rows = 0;
    while (std::getline(file, seed, '\t') && std::getline(file, id, '\t') && std::getline(file, bucket, '\t') &&
           std::getline(file, arm)) {
        const auto found = unit_bucket(seed, id);
        CHECK(found.ok() && std::to_string(found.value()) == bucket);
        CHECK(std::to_string(choose_arm(found.value(), weights, 0.7)) == arm);
        ++n_rows;
    }
    CHECK(n_rows > 100);
}

TEST(unit_bucket_refuses_an_empty_id) {
    CHECK(unit_bucket("seed", "").status().code() == Code::invalid_argument);
}
