import { ImageIcon } from "lucide-react";
import { useTranslation } from "react-i18next";
import { Button, Empty } from "@/components/ui";
import { JobCard } from "@/features/queue/JobCard";
import { useJobs } from "@/features/queue/jobs";
import { QueuePanel } from "@/features/queue/QueuePanel";
import { RecipeFromPicture } from "@/features/recipes/RecipeFromPicture";
import { PresetBar } from "@/features/templates/PresetBar";
import { Controls } from "./Controls";
import { changeDraft } from "./draft";
import { useModels } from "./models";

/** How many of the newest jobs the stage shows; older ones are in the gallery. */
const ON_STAGE = 12;

export function GeneratePage() {
  const { data } = useModels();
  return (
    <div className="flex h-full flex-col overflow-y-auto lg:flex-row lg:overflow-hidden">
      <aside className="shrink-0 border-b border-line bg-surface lg:w-88 lg:overflow-y-auto lg:border-r lg:border-b-0">
        <RecipeFromPicture />
        <PresetBar />
        <Controls models={data ?? []} />
      </aside>
      <div className="flex min-h-0 min-w-0 flex-1 flex-col max-lg:min-h-fit xl:flex-row">
        <Stage />
        <QueuePanel />
      </div>
    </div>
  );
}

function Stage() {
  const { t } = useTranslation();
  const { data: jobs } = useJobs();
  if (!jobs) return <div className="flex-1" />;
  if (jobs.length === 0) {
    const prompt = t("generate.examplePrompt");
    return (
      <div className="min-h-80 flex-1">
        <Empty icon={<ImageIcon className="size-7" aria-hidden />} title={t("generate.emptyTitle")}>
          <p>{t("generate.emptyHint")}</p>
          <Button onClick={() => changeDraft({ prompt })}>{t("generate.example", { prompt })}</Button>
        </Empty>
      </div>
    );
  }
  return (
    <section aria-label={t("queue.title")} className="min-h-0 flex-1 lg:overflow-y-auto">
      <ul className="grid grid-cols-[repeat(auto-fill,minmax(min(100%,17rem),1fr))] gap-4 p-4">
        {jobs.slice(0, ON_STAGE).map((job) => (
          <JobCard key={job.jobId} job={job} />
        ))}
      </ul>
    </section>
  );
}
