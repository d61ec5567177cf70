import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { ImageOff } from "lucide-react";
import { useTranslation } from "react-i18next";
import { gallery } from "@/api/clients";
import { useProblemText } from "@/app/useProblem";
import { Empty } from "@/components/ui";
import { pictureAt } from "./canvases";
import { Workbench } from "./Workbench";

const route = getRouteApi("/inside/edit/$imageId");

/** A picture of which a part is painted over and drawn anew. */
export function EditPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const { imageId } = route.useParams();
  const { data, error } = useQuery({
    queryKey: ["pixels", imageId],
    queryFn: async ({ signal }) => {
      const image = await gallery.getImage({ imageId }, { signal });
      return { image, pixels: await pictureAt(image.contentUrl, signal) };
    },
    // The pixels stay the same, and are large.
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });
  if (error) {
    return (
      <Empty icon={<ImageOff className="size-7" aria-hidden />} title={text(error)}>
        <Link to="/gallery" className="text-accent underline">
          {t("nav.gallery")}
        </Link>
      </Empty>
    );
  }
  if (!data) return <p className="p-6 text-muted">{t("editor.loading")}</p>;
  return <Workbench key={imageId} {...data} />;
}
