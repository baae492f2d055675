/* What Prometheus reads. */

#include "core/metric.h"
#include "unit/test.h"

TEST(samples_of_one_name_stand_together_under_one_description)
{
	struct buf out = { 0 };
	metric_set(metric_gauge("test_state", "state=\"a\"", "1 in this state"), 1);
	metric_set(metric_gauge_seconds("test_age_seconds", "", "Age"), 2500000);
	metric_set(metric_gauge("test_state", "state=\"b\"", "1 in this state"), 0);
	metric_add(metric_counter("test_done_total", "", "Done"), 2);
	metric_add(metric_counter("test_done_total", "", "Done"), 3);
	metric_render(&out);
	EXPECT_STR(STR("# HELP test_state 1 in this state\n"
		       "# TYPE test_state gauge\n"
		       "test_state{state=\"a\"} 1\n"
		       "test_state{state=\"b\"} 0\n"
		       "# HELP test_age_seconds Age\n"
		       "# TYPE test_age_seconds gauge\n"
		       "test_age_seconds 2.5\n"
		       "# HELP test_done_total Done\n"
		       "# TYPE test_done_total counter\n"
		       "test_done_total 5\n"),
		buf_str(&out));
	buf_deinit(&out);
}
