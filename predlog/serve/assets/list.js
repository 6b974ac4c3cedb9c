// The list of runs, which the server draws: fetched again when it has changed.

const fetchList = () => fetchContent("./");
const countRuns = ({ runs }) => showMark("live", "live", `${runs} ${runs === 1 ? "run" : "runs"}; updated while they go on`);
listen({ take: seldom(fetchList), reload: fetchList, status: countRuns });
