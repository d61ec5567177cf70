import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

const HEIGHT_PX = 220;
const SECONDS_A_MS = 1 / 1000;

interface Props {
  label: string;
  days: { day: string; amount: number }[];
  language: string;
  /** Whether parts of one mean nothing, as of pictures. */
  isWhole: boolean;
}

/** A bar for each day. The table beside it says the same in words, so that this is for eyes only. */
export function DayChart({ label, days, language, isWhole }: Props) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const chart = new uPlot(options(element, label, language, isWhole), data(days), element);
    const resized = new ResizeObserver(() =>
      chart.setSize({ width: element.clientWidth, height: HEIGHT_PX }),
    );
    resized.observe(element);
    return () => {
      resized.disconnect();
      chart.destroy();
    };
  }, [label, days, language, isWhole]);
  return <div ref={place} aria-hidden className="w-full min-w-0 overflow-hidden" />;
}

function data(days: Props["days"]): uPlot.AlignedData {
  return [days.map(({ day }) => Date.parse(day) * SECONDS_A_MS), days.map(({ amount }) => amount)];
}

function options(element: HTMLElement, label: string, language: string, isWhole: boolean): uPlot.Options {
  const colours = getComputedStyle(element);
  const [ink, line, accent] = ["--muted", "--line", "--accent"].map((name) => colours.getPropertyValue(name));
  const dates = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });
  const date = (seconds: number) => dates.format(seconds / SECONDS_A_MS);
  const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  const bars = uPlot.paths.bars?.({ size: [0.7, 40] });
  const axis: uPlot.Axis = {
    stroke: ink ?? "",
    grid: { stroke: line ?? "", width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height: HEIGHT_PX,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    scales: {
      x: { range: (_chart, min, max) => [min - 43_200, max + 43_200] },
      y: { range: (_chart, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, values: (_chart, ticks) => ticks.map(date), space: 70 },
      {
        ...axis,
        size: 60,
        values: (_chart, ticks) =>
          ticks.map((tick) => (isWhole && !Number.isInteger(tick) ? "" : numbers.format(tick))),
      },
    ],
    series: [{}, { label, fill: accent ?? "", points: { show: false }, ...(bars && { paths: bars }) }],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds / SECONDS_A_MS), "Etc/UTC"),
  };
}
