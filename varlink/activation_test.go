package varlink_test

func activated() bool { return false }
