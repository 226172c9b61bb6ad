#include "agent/sampler/budget.h"
#include "shared/base/clock.h"

#define BUDGET_EVERY_NS SPY_NS_PER_SEC
#define ATTACH_CPU_NS   (2 * SPY_NS_PER_SEC) // not counted at once
#define STRETCH_MAX     1000.0

void spy_budget_init(struct spy_budget *b, double percent)
{
    *b = (struct spy_budget){.percent = percent, .attach_allowed = ATTACH_CPU_NS};
}

static uint64_t take_allowance(struct spy_budget *b, uint64_t elapsed)
{
    b->attach_allowed += (uint64_t)((double)elapsed * b->percent / 100);
    if (b->attach_allowed > ATTACH_CPU_NS)
        b->attach_allowed = ATTACH_CPU_NS;
    uint64_t taken = b->attach_cpu < b->attach_allowed ? b->attach_cpu : b->attach_allowed;
    b->attach_allowed -= taken;
    b->attach_cpu = 0;
    return taken;
}

double spy_budget_stretch(struct spy_budget *b, double stretch, uint64_t now)
{
    if (b->percent <= 0 || now - b->at < BUDGET_EVERY_NS)
        return stretch;
    uint64_t cpu = spy_clock_cpu_ns();
    if (b->at) {
        uint64_t used = cpu - b->cpu, first = take_allowance(b, now - b->at);
        double percent = 100.0 * (double)(used > first ? used - first : 0) / (double)(now - b->at);
        // Stretch at once when over the budget; relax in steps.
        stretch = percent > b->percent ? stretch * percent / b->percent : stretch * 0.8;
        stretch = stretch < 1 ? 1 : stretch > STRETCH_MAX ? STRETCH_MAX : stretch;
    }
    b->at = now;
    b->cpu = cpu;
    return stretch;
}
